"""`composite.refine=diffusion`: rendered avatars made to look recorded, stable in time.

`settings` has the settings. `rasterize` computes the surface point of every pixel and its position in the
previous frame. `noise` is anchored to these points. `cross_frame_attention` passes latents and attention keys
from frame to frame. `backends` has the networks, and `refiner` combines all of these. None of them ever
receives a source frame.
"""
