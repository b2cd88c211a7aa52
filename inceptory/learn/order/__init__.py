"""Which pictures each step of a training learns from."""
