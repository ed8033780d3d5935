"""Networks for people: boxes, landmarks, faces and foreground; and the sources of their weights."""
