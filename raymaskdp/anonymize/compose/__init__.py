"""Putting avatars into the emptied frames."""
