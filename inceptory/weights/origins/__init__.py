"""One table of rules per origin: what each package calls the tensors of our networks."""
