"""Measurements in comparison with other software, which anyone can run: `raymaskdp benchmark NAME`."""
