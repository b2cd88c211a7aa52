"""Networks timed beside one another, each package in a process of its own."""
