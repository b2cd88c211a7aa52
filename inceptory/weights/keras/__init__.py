"""What Keras tells otherwise than the rest."""
