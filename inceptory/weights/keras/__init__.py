"""What is different about Keras' files and models."""
