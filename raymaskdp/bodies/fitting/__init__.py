"""Fitting bodies to people: landmarks to poses."""
