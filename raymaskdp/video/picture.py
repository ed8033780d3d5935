"""Pictures as videos of one frame."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath


def read_picture(path: LocalPath) -> Iterator[np.ndarray]:
    """The picture as the one frame that there is, uint8 [H, W, 3] RGB, turned as its EXIF data say.

    Raises `UserError` for a file that is missing or no picture.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"Cannot read the picture {path}: {error}.") from error
    # OpenCV says of damaged files that they are empty, or throws.
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise UserError(f"The file {path} is not a picture that can be read.")
    yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
