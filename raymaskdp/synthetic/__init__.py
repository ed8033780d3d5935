"""Rendered people in rendered rooms: sample data with exact ground truth, and training data of small
networks.
"""
