"""A data set looked over before hours are spent on it."""
