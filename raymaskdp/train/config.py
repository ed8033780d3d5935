"""Settings of one training run.

`PrivacyConfig` has the settings of the guarantee; `ComputeConfig` has those that affect only speed, and is
the only part that is not in a run's identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from annotated_types import Unit as UnitOf

from raymaskdp import check, places
from raymaskdp.errors import UserError
from raymaskdp.models.config import ModelConfig, SchemeName
from raymaskdp.places import Place
from raymaskdp.privacy.choices import (
    MASKED,
    MOST_RECORDS,
    AdaptiveNorm,
    Adjacency,
    ClippingName,
    Mechanism,
    Unit,
)

if TYPE_CHECKING:
    from raymaskdp.privacy.plan import PrivacyPlan

VALIDATION = "validation"

Count = Annotated[int, check.POSITIVE]
Side = Annotated[int, check.POSITIVE, UnitOf("px")]


class StoredFrames(Protocol):
    """A clip store: the size of its frames."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """How clips are taken from a video.

    Attributes:
      frames: number of frames of a clip.
      stride: distance of a clip's frames in stored frames; reduced for videos that are too short.
      draws: number of different moments of a record in training. Features of frozen backbones
        are computed once for each.
      copies: copies of each clip, differently cropped, shifted and mirrored; all are averaged before clipping
        (augmentation multiplicity, De et al. 2022).
      size: (height, width) of the model's clips; None for that of stored frames.
      crop: a training clip shows a window of at least this share of the largest window with its aspect,
        at a random position in the stored frame.
      shift: largest shift of a training clip along each axis.
      flip: whether half of the training clips are mirrored.
    """

    frames: Annotated[int, check.POSITIVE] = 8
    stride: Annotated[int, check.POSITIVE] = 3
    draws: Annotated[int, check.POSITIVE] = 16
    copies: Annotated[int, check.POSITIVE] = 1
    size: tuple[Side, Side] | None = None
    crop: Annotated[float, check.Range(0, 1, open_low=True)] = 1.0
    shift: Annotated[int, check.Range(0), UnitOf("px")] = 3
    flip: bool = True

    def __post_init__(self) -> None:
        check.fields(self, "clips")

    @property
    def numbers(self) -> int:
        """Number of training clips of a record: each moment in each copy."""
        return self.draws * self.copies

    def size_in(self, store: StoredFrames) -> tuple[int, int]:
        """(height, width) of a clip of this store."""
        return self.size or (store.height, store.width)


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """The mechanism and its budget; docs/privacy-guarantee.md describes the guarantees.

    Attributes:
      mechanism: sgd (no privacy), dpsgd (one clip per record), multiclip, maskdp, or maskdp-full (masked,
        but with the full gradient clipped).
      epsilon: budget of the whole run, from which the noise follows. Give this or `noise_multiplier`.
      noise_multiplier: σ, standard deviation of the noise over C.
      delta: δ; should be below one over the number of records.
      clipping_norm: C, the largest norm of a record's gradient.
      clipping: flat; automatic, which scales every record to nearly C and needs no tuning of it; per-layer,
        each layer to an equal share of C; or adaptive, flat at a C that follows a quantile of the norms. One
        record changes the sum by at most the C of its step.
      adaptive: how C adapts, for clipping=adaptive only; defaults if not given.
      clips: K, clips of a record in a step; dpsgd always takes one.
      expected_batch: expected number of records in a step.
      public_batch: the same for the public branch of masked mechanisms, which is drawn independently;
        equal to `expected_batch` if not given.
      public_weight: λ, weight of the public branch.
      adjacency: which change of one record is hidden.
      unit: what a record is, a video or all videos of a subject.
    """

    mechanism: Mechanism = "maskdp"
    epsilon: Annotated[float, check.POSITIVE] | None = None
    noise_multiplier: Annotated[float, check.Range(0)] | None = None
    delta: Annotated[float, check.Range(0, 1, open_low=True, open_high=True)] = 1e-5
    clipping_norm: Annotated[float, check.POSITIVE] = 1.0
    clipping: ClippingName = "flat"
    adaptive: AdaptiveNorm | None = None
    clips: Annotated[int, check.POSITIVE] = 2
    expected_batch: Annotated[float, check.POSITIVE] = 64.0
    public_batch: Annotated[float, check.POSITIVE] | None = None
    public_weight: Annotated[float, check.Range(0)] = 1.0
    adjacency: Adjacency = "zero-out"
    unit: Unit = "video"

    def __post_init__(self) -> None:
        check.fields(self, "privacy")

    def plan(self, *, num_records: int, steps: int, copies: int = 1) -> PrivacyPlan:
        """The plan of a run over `num_records` records; raises `UserError` for incompatible settings.

        Batches larger than the data, as in a configuration for more data, are reduced to all records.
        For the plan, `copies` of a clip are clips: all are averaged before clipping.
        """
        if self.mechanism == "sgd" and self.epsilon is not None:
            raise UserError("privacy.mechanism=sgd has no epsilon; remove privacy.epsilon, or use dpsgd.")
        if self.mechanism != "sgd" and (self.epsilon is None) == (self.noise_multiplier is None):
            raise UserError("Give either privacy.epsilon or privacy.noise_multiplier, and not both.")
        # torch, which a plan draws noise with, takes seconds to import; settings are read without it.
        from raymaskdp.privacy.plan import PrivacyPlan

        masked = self.mechanism in MASKED
        return PrivacyPlan.calibrate(
            mechanism=self.mechanism,
            num_records=num_records,
            expected_batch=min(self.expected_batch, num_records),
            steps=steps,
            delta=self.delta,
            epsilon=self.epsilon,
            noise_multiplier=self.noise_multiplier,
            clips=copies if self.mechanism == "dpsgd" else copies * self.clips,
            clipping_norm=self.clipping_norm,
            clipping=self.clipping,
            adaptive=self.adaptive,
            adjacency=self.adjacency,
            unit=self.unit,
            public_batch=min(self.public_batch or self.expected_batch, num_records) if masked else None,
            public_weight=self.public_weight,
        )


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How a private update becomes new weights.

    Attributes:
      name: sgd; adam; adamw, with decoupled weight decay; or dp-adam, whose second moment is reduced by the
        variance of the noise (DP-AdamBC).
      learning_rate: the largest; reached after `warmup` steps.
      momentum: of sgd.
      weight_decay: decoupled with adamw and dp-adam; with sgd and adam added to the gradient.
      warmup: steps in which the learning rate rises linearly.
      schedule: constant, or cosine down to zero at the last step.
      variance_floor: smallest second moment that dp-adam uses, the square of a gradient.
      average: decay of a moving average of the weights, which is then the result; 0 for the last weights.
    """

    name: Literal["sgd", "adam", "adamw", "dp-adam"] = "sgd"
    learning_rate: Annotated[float, check.POSITIVE] = 0.5
    momentum: Annotated[float, check.Range(0, 1, open_high=True)] = 0.9
    weight_decay: Annotated[float, check.Range(0)] = 0.0
    warmup: Annotated[int, check.Range(0)] = 0
    schedule: Literal["constant", "cosine"] = "cosine"
    variance_floor: Annotated[float, check.POSITIVE] = 1e-8
    average: Annotated[float, check.Range(0, 1, open_high=True)] = 0.0

    def __post_init__(self) -> None:
        check.fields(self, "optimizer")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Settings of speed and monitoring; none affects privacy.

    All but `precision` change at most the order of floating-point sums, and are not in a run's identity.

    Attributes:
      workers: processes of Ray Train; 0 runs in this process, without Ray. (least, most) takes as many as
        the cluster has resources for, and changes with it.
      gpus: share of a GPU per worker, up to 1; 0 trains on the CPU. In process any value above
        0 is the first GPU. `evaluate` uses it, too, if there is one then.
      threads: CPU threads of each worker.
      micro_batch: records whose gradients are computed at a time.
      read_ahead: micro-batches in memory, read while another is computed; 0 reads each when it
        is needed.
      precision: of the model's passes. bfloat16 is torch's autocast: weights, losses, clipping, sums and
        noise stay float32. Part of a run's identity: a step repeated after a crash must not have another
        result, since it gets the same noise.
      cache_features: with a frozen backbone, compute every clip's features once.
      checkpoint_activations: keep only the inputs of a model's blocks, and recompute the rest in the
        backward pass: less memory, more time.
      checkpoint_every: steps between checkpoints.
      progress: show a progress bar.
      tensorboard: also write the training curve for TensorBoard; this takes a second at the start.
      wandb: export it to Weights & Biases when the run is done; `$WANDB_MODE` applies, offline by default.
      ray_metrics: publish it as Ray metrics during the run (with workers).
    """

    workers: Annotated[int, check.Range(0)] | tuple[Count, Count] = 2
    gpus: Annotated[float, check.FRACTION] = 0.0
    threads: Annotated[int, check.POSITIVE] = 1
    micro_batch: Annotated[int, check.Range(1, MOST_RECORDS)] = 16
    read_ahead: Annotated[int, check.Range(0)] = 2
    precision: Literal["float32", "bfloat16"] = "float32"
    cache_features: bool = True
    checkpoint_activations: bool = False
    checkpoint_every: Annotated[int, check.POSITIVE] = 20
    progress: bool = True
    tensorboard: bool = True
    wandb: bool = False
    ray_metrics: bool = False

    def __post_init__(self) -> None:
        check.fields(self, "compute")
        if isinstance(self.workers, tuple):
            check.in_range("compute.workers, the most", self.workers[1], low=self.workers[0])

    @property
    def most_workers(self) -> int:
        """The largest possible number of workers."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
      data: clip store, from `raymaskdp prepare`: a folder that every worker can read, or a URL.
      out: folder for runs; each gets its own folder in it. Every worker must have access to it.
      split: the training videos.
      validation: probability with which a subject of the split (a video, if no subject is named) is
        held out of training, to choose settings by; drawn by the hash of its name.
      steps: number of updates.
      scheme: the trained parameters: full, linear, selective, bitfit, adapter, lora or scratch.
      init: weights of a publicly pretrained backbone, safetensors or PyTorch; its head is not used.
      seed: draws initial weights. Never the run's secret, which the operating system gives.
    """

    data: Place
    out: Path = Path("runs")
    split: str = "train"
    validation: Annotated[float, check.Range(0, 1, open_high=True)] = 0.0
    steps: Annotated[int, check.POSITIVE] = 100
    scheme: SchemeName = "full"
    init: Path | None = None
    seed: Annotated[int, check.Range(0)] = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)
    privacy: PrivacyConfig = field(metadata={"give": "epsilon"})
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        check.fields(self)
        object.__setattr__(self, "data", places.place(str(self.data)))
        if self.scheme == "scratch" and self.init is not None:
            raise UserError("scheme=scratch starts from random weights; remove init, or use scheme=full.")
        if self.privacy.mechanism == "dpsgd" and self.clips.copies > 1:
            raise UserError(
                "The mechanism dpsgd takes one clip per record; "
                "for clips.copies use multiclip with privacy.clips=1."
            )
        if self.privacy.clipping == "adaptive" and self.optimizer.name == "dp-adam":
            raise UserError(
                "optimizer.name=dp-adam needs noise of constant size, which clipping=adaptive "
                "does not have; use adam, or another privacy.clipping."
            )
        if self.privacy.clips > self.clips.draws:
            raise UserError(
                f"privacy.clips ({self.privacy.clips}) must not exceed clips.draws ({self.clips.draws})."
            )
