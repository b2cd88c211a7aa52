"""A network as a table and as an SVG."""
