"""Pixels in and out: decoding, encoding and bit-packed masks. Frames are RGB uint8 [H, W, 3]."""
