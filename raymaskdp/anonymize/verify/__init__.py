"""Checks of frames and files before a video is published."""
