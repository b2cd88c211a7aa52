"""Folders as they lie on the disk: their names, and class folders of pictures."""
