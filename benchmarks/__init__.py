"""Speed, memory and quality against a naive baseline: `python -m benchmarks`."""
