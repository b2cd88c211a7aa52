"""From a model to a function from pixels to answers."""
