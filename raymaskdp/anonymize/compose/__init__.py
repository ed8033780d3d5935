"""Compositing avatars into the emptied frames."""
