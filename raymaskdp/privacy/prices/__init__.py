"""The cost of releases: ε by two accountants, checked by a third; the whole curve; selection."""
