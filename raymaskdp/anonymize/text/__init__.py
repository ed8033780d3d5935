"""Text in the background: screens, boards, name plates, subtitles. It is removed if a setting asks for it."""
