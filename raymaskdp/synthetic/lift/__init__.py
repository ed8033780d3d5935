"""Training data and training of `bodies.fitting.lift`, which corrects the bias of landmarks."""
