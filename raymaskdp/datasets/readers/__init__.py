"""Readers of official data sets, one module each."""
