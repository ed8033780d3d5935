"""What is behind people: plates, mosaics, inpainting, shadows, and the count of what leaks."""
