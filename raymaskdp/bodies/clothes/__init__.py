"""Clothes of avatars: cuts, fabrics and textures."""
