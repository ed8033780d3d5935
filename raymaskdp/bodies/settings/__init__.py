"""Settings of bodies, apart from them, because they import torch and OpenCV."""
