"""What a task is and how well a network does it."""
