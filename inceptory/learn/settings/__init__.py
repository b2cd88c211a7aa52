"""What is asked of a training: recipe, options, job."""
