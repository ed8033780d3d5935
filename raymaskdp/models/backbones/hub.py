"""Video classifiers of the library `transformers`, from a folder or from the Hugging Face hub.

VideoMAE, ViViT and TimeSformer; others of `AutoModelForVideoClassification` may work, and are
refused by name if they do not. Weights are safetensors, and no code beside them is run.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.models.backbones.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Colours,
    normalize,
    reset_head,
)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
NEW = ("classifier.", "fc_norm.")
"""Parts that weights from self-supervised pretraining lack."""


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """Which model of `transformers`.

    Attributes:
      path: a folder with config.json and model.safetensors; or a hub id such as
        MCG-NJU/videomae-base-finetuned-kinetics, which is downloaded once.
      pretrained: whether its weights are used; if not, only its architecture.
      mean, std: of pixels from 0 to 1, by colour; those of its preprocessor_config.json, or ImageNet's.
    """

    path: str
    pretrained: bool = True
    mean: Colours | None = None
    std: Colours | None = None


class HubModel(Backbone):
    """A classifier of `transformers` whose last layer is this project's head."""

    network: Any  # of a class that is defined by transformers
    # The names of VideoMAE, ViViT and TimeSformer, whose attention in time ends with temporal_dense.
    branch_outputs = (
        r"network\.(.*(?<!temporal_attention)\.output\.dense|.*\.(o_proj|mlp\.fc2|temporal_dense))"
    )
    projections = r"network\..*\.(query|key|value|q_proj|k_proj|v_proj|qkv)"

    def __init__(self, config: HubConfig, *, clip: tuple[int, int, int], num_classes: int) -> None:
        """`clip` is (frames, height, width) of the input; raises `UserError` if the model wants another."""
        super().__init__()
        folder = model_folder(config.path)
        self.colours = _colours(config, folder)
        self.network = _network(config, folder, clip).train()
        width = self.network.classifier.in_features
        self.network.classifier = nn.Identity()
        self.head = reset_head(width, num_classes)

    def features(self, clips_BCTHW: Tensor) -> Tensor:
        """The clips' feature vectors, shape [B, D]: the only input of the head."""
        clips_BTCHW = normalize(clips_BCTHW, *self.colours).transpose(1, 2)
        features: Tensor = self.network(pixel_values=clips_BTCHW).logits
        return features

    def checkpoint_activations(self) -> None:
        """From now on discard activations inside blocks, and recompute them in the backward pass."""
        self.network.activation_checkpointing_enable({"use_reentrant": False})


def source_files(config: HubConfig) -> tuple[Path, ...]:
    """The files that the initial weights come from; none if they are drawn."""
    return tuple(sorted(model_folder(config.path).glob("*.safetensors"))) if config.pretrained else ()


def model_folder(path: str) -> Path:
    """The folder itself, or the one that a hub id is downloaded to; raises `UserError` if there is none."""
    folder = Path(path)
    if not folder.is_dir():
        if not HUB_ID.fullmatch(path):
            raise UserError(
                f"model.options.path is neither a folder nor a hub id such as NAME/MODEL: {path}."
            )
        _library()
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors"]))
        except (OSError, ValueError) as error:
            raise UserError(
                f"Cannot get {path} from the Hugging Face hub ({type(error).__name__}); check the name and "
                "the network, or give a folder with its config.json and model.safetensors."
            ) from error
    if not (folder / "config.json").is_file():
        raise UserError(f"{path} has no config.json; give a folder saved by transformers.")
    return folder


def _network(config: HubConfig, folder: Path, clip: tuple[int, int, int]) -> nn.Module:
    """The classifier, without dropout: its noise would make gradients harder to check."""
    transformers = _library()
    try:
        settings = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        _require_clip(settings, clip, config.path)
        for name, value in vars(settings).items():
            if isinstance(value, (int, float)) and ("dropout" in name or name == "drop_path_rate"):
                setattr(settings, name, type(value)(0))
        kind = transformers.AutoModelForVideoClassification
        if not config.pretrained:
            network: nn.Module = kind.from_config(settings, dtype=torch.float32)
            return network
        network, report = kind.from_pretrained(
            folder,
            config=settings,
            dtype=torch.float32,  # for every type in the file: small updates vanish in half precision
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"transformers cannot load a video classifier from {config.path}: {reason}"
        ) from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(NEW))
    if missing:
        raise UserError(f"The weights in {config.path} have no {missing[0]!r}; they are of another model.")
    return network


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            "The model `transformers` needs the library of that name: pip install 'raymaskdp[transformers]'."
        ) from error
    transformers.utils.logging.disable_progress_bar()  # for each tensor of files on this disk
    return transformers


def _require_clip(settings: Any, clip: tuple[int, int, int], path: str) -> None:
    side = settings.image_size
    height, width = (side, side) if isinstance(side, int) else side
    wanted = (settings.num_frames, height, width)
    if wanted != clip:
        raise UserError(
            f"{path} needs clips of {wanted[0]} frames of {wanted[1]} x {wanted[2]} pixels, but they have "
            f"{clip[0]} of {clip[1]} x {clip[2]}; change clips.frames, or prepare another size."
        )


def _colours(config: HubConfig, folder: Path) -> tuple[Colours, Colours]:
    """Mean and standard deviation of the pixels that the network was trained with."""
    about: dict[str, Any] = {}
    if (folder / "preprocessor_config.json").is_file():
        about = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    mean = config.mean or tuple(about.get("image_mean", IMAGENET_MEAN))
    return mean, config.std or tuple(about.get("image_std", IMAGENET_STD))
