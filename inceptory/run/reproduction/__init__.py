"""What `reproduce` is asked for, and how long that takes here."""
