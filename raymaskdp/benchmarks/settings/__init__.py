"""Settings of the benchmarks, apart from them, because the benchmarks import torch, Ray and OpenCV."""
