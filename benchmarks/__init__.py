"""Benchmarks: every speed is a ratio to a copy in the same run."""
