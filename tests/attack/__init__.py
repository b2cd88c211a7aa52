"""Files that are damaged on purpose, given to every command: `make attack`."""
