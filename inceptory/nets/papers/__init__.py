"""One paper each, read like the paper's table."""
