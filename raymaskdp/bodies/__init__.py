"""The SMPL-H body: its file, its poses, its avatars' looks."""
