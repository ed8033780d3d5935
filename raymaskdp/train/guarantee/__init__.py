"""What has to be true around a run for its ε to hold, checked before its first step."""
