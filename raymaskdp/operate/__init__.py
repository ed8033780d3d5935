"""Runs on remote machines: checks of a machine, jobs on a cluster, and the progress of runs."""
