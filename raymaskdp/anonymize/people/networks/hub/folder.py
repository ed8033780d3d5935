"""A folder saved by transformers: located, checked by its config.json, and loaded.

Only safetensors weights are read, and no code in the folder is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from raymaskdp.errors import UserError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A folder with a network of `transformers`.

    Attributes:
      setting: the name of the setting, for messages.
      place: the value of the setting: a folder or a hub id.
      path: the folder on this machine.
      about: its config.json.
    """

    setting: str
    place: str
    path: Path
    about: Mapping[str, Any] = field(repr=False)

    def require_kind(self, kinds: Mapping[str, str], role: str) -> None:
        """Raise `UserError` unless its model type is in `kinds` (names by model type), the networks for
        `role`.
        """
        found = self.about.get("model_type")
        if found not in kinds:
            known = ", ".join(dict.fromkeys(kinds.values()))
            raise UserError(
                f"{self.setting}: {self.place} is of the kind {found!r} and cannot find {role}; give one "
                f"of {known}."
            )

    def labels(self) -> dict[int, str]:
        """Its classes by number, in lower case; empty if it names none."""
        named = self.about.get("id2label") or {}
        return {int(number): str(name).strip().lower() for number, name in named.items()}

    def preprocessing(self) -> dict[str, Any]:
        """Its preprocessing settings; empty if it has none."""
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (self.path / name).is_file():
                said = _json(self, name)
                return dict(said.get("image_processor", said))
        return {}


def model_folder(setting: str, place: str) -> ModelFolder:
    """The folder that a setting names. A hub id is downloaded once.

    Raises `UserError` if transformers is not installed, if there is no such folder, or if it has no
    config.json or no safetensors.
    """
    if importlib.util.find_spec("transformers") is None:
        raise UserError(
            f"{setting} needs the library transformers, which is not installed; "
            "run: pip install 'raymaskdp[transformers]'."
        )
    path = Path(place).expanduser()
    if not path.is_dir():
        if not HUB_ID.fullmatch(place):
            raise UserError(f"{setting} is neither a folder nor a hub id such as NAME/MODEL: {place}.")
        path = _downloaded(setting, place)
    if not (path / "config.json").is_file():
        raise UserError(f"{setting}: {place} holds no config.json; give a folder saved by transformers.")
    if not any(path.glob("*.safetensors")):
        raise UserError(
            f"{setting}: {place} holds no weights as safetensors, and others are not read; save it with "
            "safe_serialization=True."
        )
    bare = ModelFolder(setting=setting, place=place, path=path, about={})
    return ModelFolder(setting=setting, place=place, path=path, about=_json(bare, "config.json"))


def load(folder: ModelFolder, kind: str, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """The network of a folder, for inference.

    Args:
      kind: a class of `transformers`, such as "AutoModelForObjectDetection".
      device: the device that it runs on.
      dtype: None for half precision on a GPU, and single precision on a CPU.

    Raises `UserError` if it cannot be loaded, or lacks weights.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()  # for each tensor of files on this disk
    transformers.utils.logging.set_verbosity_error()
    if dtype is None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
    try:
        network, report = getattr(transformers, kind).from_pretrained(
            folder.path,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # damaged files raise many kinds of errors
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{folder.setting}: transformers cannot load {folder.place}: {reason[:200].rstrip('.')}."
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"{folder.setting}: the weights in {folder.place} have no {missing[0]!r}; they are of another "
            "model."
        )
    return network.eval().to(device)


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Normalization of pixels.

    Attributes:
      mean, std: for each colour, of values from 0 to 1; a value is shifted by the first and divided by the
        second.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def tensor(self, pictures: Sequence[np.ndarray], like: Any) -> Tensor:
        """Images of one size, uint8 RGB [h, w, 3] each, as [B, 3, h, w] for the network `like`."""
        stacked = torch.from_numpy(np.stack(pictures)).to(like.device)
        values = stacked.permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(of).to(like.device)[:, None, None] for of in (self.mean, self.std))
        return ((values - mean) / std).to(like.dtype)


def pixels_of(folder: ModelFolder, *, normalize: bool) -> Pixels:
    """The normalization that a folder specifies.

    Args:
      normalize: whether pixels are normalized if the folder does not say; ImageNet's statistics are the
        default.
    """
    said = folder.preprocessing()
    if not said.get("do_normalize", normalize):
        return Pixels(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    mean, std = said.get("image_mean") or IMAGENET_MEAN, said.get("image_std") or IMAGENET_STD
    return Pixels(mean=_three(folder, mean), std=_three(folder, std))


def numbers(folder: ModelFolder, answer: Tensor) -> np.ndarray:
    """A network's output as float32; raises `UserError` if any value is not finite.

    Half precision overflows above 65504. Without this check an unreadable output would count as a frame
    without people.
    """
    values = answer.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise UserError(
            f"{folder.setting}: {folder.place} returns values that are not finite; on a GPU it "
            "computes in half precision, so try gpus=0 or other weights."
        )
    return np.asarray(values, np.float32)


def sides_of(value: Any) -> tuple[int, int]:
    """Height and width, of one number for both, of two, or of a mapping of both.

    >>> sides_of(64), sides_of([64, 48]), sides_of({"height": 64, "width": 48})
    ((64, 64), (64, 48), (64, 48))
    """
    if isinstance(value, Mapping):
        return int(value["height"]), int(value["width"])
    if isinstance(value, Sequence):
        height, width = value
        return int(height), int(width)
    return int(value), int(value)


def resized(image_HW3: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image at another size, without regard to its proportions."""
    how = cv2.INTER_AREA if image_HW3.shape[0] > height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HW3, (width, height), interpolation=how))


def in_batches(some: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Consecutive parts of a sequence with at most `most` elements.

    >>> [list(part) for part in in_batches([1, 2, 3], 2)]
    [[1, 2], [3]]
    """
    for start in range(0, len(some), most):
        yield some[start : start + most]


def _downloaded(setting: str, place: str) -> Path:
    """The local folder of a hub id. Files that are present are not requested again."""
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"allow_patterns": ["*.json", "*.safetensors"]}
    with contextlib.suppress(OSError, ValueError):  # if it is not downloaded yet
        here = Path(snapshot_download(place, local_files_only=True, **wanted))
        if (here / "config.json").is_file() and any(here.glob("*.safetensors")):
            return here
    try:
        return Path(snapshot_download(place, **wanted))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{setting}: cannot get {place} from the Hugging Face hub ({type(error).__name__}); check the "
            "name and the network, or give a folder that holds its config.json and model.safetensors."
        ) from error


def _json(folder: ModelFolder, name: str) -> dict[str, Any]:
    try:
        said = json.loads((folder.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder.setting}: {name} of {folder.place} cannot be read as JSON.") from error
    if not isinstance(said, dict):
        raise UserError(f"{folder.setting}: {name} of {folder.place} holds no settings.")
    return said


def _three(folder: ModelFolder, values: Any) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{folder.setting}: {folder.place} does not give three numbers for the colours of its pictures."
        ) from error
    return red, green, blue
