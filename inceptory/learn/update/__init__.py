"""What makes new weights of gradients: optimizer, schedule, averages, norms."""
