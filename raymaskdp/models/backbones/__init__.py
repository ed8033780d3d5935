"""Backbones, one module each."""
