"""Benchmarks: ours side by side with what users would otherwise have, in one run."""
