"""The SMPL-H body: its file, its poses, and the appearance of avatars."""
