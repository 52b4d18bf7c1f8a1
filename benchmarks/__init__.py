"""Speed, memory and quality against the straightforward way: `python -m benchmarks`."""
