"""Lit scenes in rendered rooms: training data of a small relighting network."""
