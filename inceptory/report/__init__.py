"""The run folder's page and plots, runs side by side."""
