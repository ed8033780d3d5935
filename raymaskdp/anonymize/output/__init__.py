"""What is written: the manifest, decisions of reviewers, chunks of unfinished videos."""
