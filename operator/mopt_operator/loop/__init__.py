"""What runs: watches that fill the cache, workers that decide and act, probes and metrics."""
