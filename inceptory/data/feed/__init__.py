"""Batches out of memory, or streamed by processes that may die."""
