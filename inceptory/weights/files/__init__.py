"""Tensors out of any file, running nothing in it; knows no network."""
