"""A trained network put to new pictures: a linear head on its features, then careful fine-tuning."""
