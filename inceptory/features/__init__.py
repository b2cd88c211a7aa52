"""Bottleneck features: what a trained network sees in a picture, computed once and kept."""
