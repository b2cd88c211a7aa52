"""A trained network put to new pictures: a linear head on its features."""
