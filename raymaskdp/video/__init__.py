"""Input and output of pixels: decoding, encoding and bit-packed masks. Frames are RGB uint8 [H, W, 3]."""
