"""Tensors out of any file, without running anything in it; knows nothing of networks."""
