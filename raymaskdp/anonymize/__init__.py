"""Videos of people in, videos of avatars out: one module a stage."""
