"""Measurements side by side with peers, which anyone can run: `raymaskdp benchmark NAME`."""
