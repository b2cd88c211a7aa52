"""What an exported folder holds, and how its answers are proved."""
