"""Running on machines that are not in front of you: a check-up, jobs on a cluster, and how far a run is."""
