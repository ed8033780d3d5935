"""Output files: the manifest, reviewers' decisions, and chunks of unfinished videos."""
