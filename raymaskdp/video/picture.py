"""Images as videos of one frame."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath


def read_picture(path: LocalPath) -> Iterator[np.ndarray]:
    """The image as the only frame, uint8 [H, W, 3] RGB, rotated according to its EXIF data.

    Raises `UserError` for a file that is missing or not an image.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"Cannot read the picture {path}: {error}.") from error
    # For damaged files OpenCV returns None, or raises.
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise UserError(f"The file {path} is not a picture that can be read.")
    yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
