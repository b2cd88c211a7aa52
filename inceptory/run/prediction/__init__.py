"""What a prediction keeps: its rows on the way, and the pictures by which precisions are compared."""
