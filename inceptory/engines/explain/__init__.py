"""What an answer rests on, by one engine: torch's, which has gradients."""
