"""One run: its setup in a process, its workers on Ray, its curve, its progress, and its result."""
