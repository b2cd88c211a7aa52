"""Augmentations as pure functions with an explicit generator."""
