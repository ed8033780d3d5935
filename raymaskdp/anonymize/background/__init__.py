"""The background behind people: plates, mosaics, inpainting, shadows, and the count of source pixels that
leak.
"""
