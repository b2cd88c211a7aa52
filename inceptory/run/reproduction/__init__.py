"""`reproduce`: what it is asked for, how long that takes here, and its runs one after another."""
