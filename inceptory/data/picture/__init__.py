"""One picture: from its file to the values that a network takes."""
