"""Ray: joining a cluster, mapping rows over a pool of actors, and the lock of a folder."""
