"""Lit scenes of drawn rooms, from which a small network learns light."""
