"""Benchmarks of scheduling on clusters, with stand-ins for the work."""
