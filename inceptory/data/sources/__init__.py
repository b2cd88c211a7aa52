"""Labelled pictures: where they lie, their names, labels and splits."""
