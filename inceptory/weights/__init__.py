"""From anybody's file to our names, and back."""
