"""A run's log: bytes on disk, then lines, batches, windows."""
