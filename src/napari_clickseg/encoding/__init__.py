"""Images encoded ahead of time: a store of features, and filling it in parallel."""
