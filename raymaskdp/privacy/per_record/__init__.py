"""Per-record gradients: layers and raw parameters, clipped and summed."""
