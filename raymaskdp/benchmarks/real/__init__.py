"""The benchmark of real clips."""
