"""`raymaskdp benchmark orderings`: which mechanism is better at which ε, by repeated and paired trials."""
