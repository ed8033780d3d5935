"""Sources of weights: folders saved by diffusers, or the Hugging Face hub; safetensors only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymaskdp import check
from raymaskdp.anonymize.compose.diffusion.settings import BACKENDS, DiffusionConfig
from raymaskdp.errors import UserError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The default weights of a backend on the hub: ids of a pipeline and of its ControlNet."""

    model: str
    control: str | None = None


HUB: Mapping[str, Hub] = {
    "sd15-depth": Hub(
        model="stable-diffusion-v1-5/stable-diffusion-v1-5", control="lllyasviel/control_v11f1p_sd15_depth"
    ),
    "sdxl-depth": Hub(
        model="stabilityai/stable-diffusion-xl-base-1.0", control="diffusers/controlnet-depth-sdxl-1.0"
    ),
    "wan-vace": Hub(model="Wan-AI/Wan2.1-VACE-1.3B-diffusers"),
}


@dataclass(frozen=True, kw_only=True)
class PulledDiffusion:
    """The folders of the downloaded weights."""

    backend: str
    model: str
    control: str | None

    def __str__(self) -> str:
        return "\n".join(f"{self.backend}: {path}" for path in (self.model, self.control) if path)


def places(config: DiffusionConfig) -> Hub:
    """Folders or hub ids of the pipeline and of its ControlNet."""
    usual = HUB[config.backend]
    return Hub(model=config.model or usual.model, control=usual.control and (config.control or usual.control))


def check_weights(config: DiffusionConfig) -> None:
    """Raise `UserError` unless the weights are on this machine; nothing is loaded or downloaded."""
    chosen = places(config)
    _check_place("diffusion.model", chosen.model, "model_index.json", config.backend)
    if chosen.control is not None:
        _check_place("diffusion.control", chosen.control, "config.json", config.backend)
    if config.adapter is not None and not (
        config.adapter.suffix == ".safetensors" and config.adapter.is_file()
    ):
        raise UserError(f"diffusion.adapter: there is no safetensors file {config.adapter}.")


def load_pipeline(config: DiffusionConfig, kind: type[Any], control: type[Any] | None, dtype: Any) -> Any:
    """The pipeline of class `kind`, with its ControlNet of class `control`, from this machine's disk.

    Only safetensors are read, and no code in the folder is run.
    """
    check_weights(config)
    chosen = places(config)
    how = {
        "dtype": dtype,
        "use_safetensors": True,
        "local_files_only": True,
    }
    _silence()
    try:
        if control is None:
            return _adapted(kind.from_pretrained(chosen.model, **how), config)
        network = control.from_pretrained(chosen.control, **how)
        pipeline = kind.from_pretrained(chosen.model, controlnet=network, **_UNUSED[config.backend], **how)
        return _adapted(pipeline, config)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"diffusers cannot load {chosen.model} as {config.backend}: {reason} Give a folder that "
            "diffusers saved as safetensors."
        ) from error


def _adapted(pipeline: Any, config: DiffusionConfig) -> Any:
    """The pipeline with its adapter merged into the weights, so that it adds no cost."""
    if config.adapter is None:
        return pipeline
    from safetensors import SafetensorError

    try:
        pipeline.load_lora_weights(str(config.adapter.parent), weight_name=config.adapter.name)
        found = pipeline.get_active_adapters()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"diffusion.adapter: {config.adapter} is not a LoRA of {config.backend}: {reason}."
        ) from error
    if not found:
        raise UserError(f"diffusion.adapter: nothing in {config.adapter} belongs to {config.backend}.")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline


_UNUSED: Mapping[str, dict[str, Any]] = {
    # It blanks images, by a classifier that was not trained on rendered people.
    "sd15-depth": {"safety_checker": None, "requires_safety_checker": False},
    "sdxl-depth": {"add_watermarker": False},
}


def pull_diffusion(backend: str) -> PulledDiffusion:
    """Download the default weights of a backend to the hub's cache; raises `UserError` without a network."""
    check.one_of("the backend", backend, BACKENDS)
    import diffusers

    diffusers.utils.logging.set_verbosity_error()
    usual = HUB[backend]
    try:
        model = diffusers.DiffusionPipeline.download(
            usual.model, use_safetensors=True, safety_checker=None, requires_safety_checker=False
        )
        control = None
        if usual.control is not None:
            from huggingface_hub import snapshot_download

            control = snapshot_download(
                usual.control, allow_patterns=["config.json", "diffusion_pytorch_model.safetensors"]
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Cannot get the weights of {backend} from the Hugging Face hub ({type(error).__name__}); check "
            "the network, or copy a folder from elsewhere and name it in diffusion.model."
        ) from error
    return PulledDiffusion(backend=backend, model=str(model), control=control and str(control))


def _silence() -> None:
    """Disable progress bars of local files, and warnings that are meant for programmers."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _check_place(name: str, place: str, file: str, backend: str) -> None:
    if Path(place).is_dir():
        if not (Path(place) / file).is_file():
            raise UserError(f"{name}: {place} holds no {file}; give a folder saved by diffusers.")
        return
    if not HUB_ID.fullmatch(place):
        raise UserError(f"{name} is neither a folder nor a hub id such as NAME/MODEL: {place}.")
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(place, file), str):
        raise UserError(
            f"The weights {place} are not on this machine: run `raymaskdp models pull {backend}` where there "
            f"is a network, or give a folder with {name}=FOLDER."
        )
