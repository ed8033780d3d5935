"""Attacks on anonymized videos and on trained models, each beside a control."""
