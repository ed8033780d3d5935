"""Benchmarks of refined avatars."""
