"""Rendered people in rendered rooms: sample data with exact ground truth, and lessons for small networks."""
