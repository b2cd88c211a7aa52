"""Pictures in parquet files, read by a process of its own."""
