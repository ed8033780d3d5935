"""Metadata of containers, read without a decoder."""
