"""Networks that look for people: boxes, landmarks, faces and foreground; where their weights come from."""
