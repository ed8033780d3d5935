"""Networks of the library `transformers`, by folder or hub id: boxes, keypoints and masks of people."""
