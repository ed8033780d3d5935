"""Official data sets, one module each."""
