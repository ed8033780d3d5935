"""One run: its setup in a process, its workers on Ray, its curve, what it shows, and its result."""
