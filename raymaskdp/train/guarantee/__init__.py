"""What must hold around a run for its ε to be true, checked before its first step."""
