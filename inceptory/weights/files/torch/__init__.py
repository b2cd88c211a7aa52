"""What torch.save writes, read without running it."""
