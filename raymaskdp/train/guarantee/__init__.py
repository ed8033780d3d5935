"""Conditions of a run's ε, checked before its first step."""
