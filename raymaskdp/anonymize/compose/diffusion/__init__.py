"""`composite.refine=diffusion`: rendered avatars made to look filmed, and to stay still on their surface.

`settings` says how, `rasterize` knows which point of the body every pixel shows and where it was a frame
before, `noise` is anchored to those points, `cross_frame_attention` hands latents and attention keys from
frame to frame, `backends` holds the networks, and `refiner` puts it together. None of them is ever given a
source frame.
"""
