"""Fitting bodies to people: from landmarks to poses."""
