"""Records of published files, fetched once."""
