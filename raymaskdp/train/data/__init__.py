"""From a clip store to batches: clips, splits, views, and prefetching."""
