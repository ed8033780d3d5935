"""The publishable files of a finished run: its model, and its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from raymaskdp import config as configuration
from raymaskdp import models
from raymaskdp.check import finite_or_none
from raymaskdp.files import write_json
from raymaskdp.train import checkpoint
from raymaskdp.train.guarantee.earlier_runs import epsilon_with_before, warnings_of
from raymaskdp.train.run.curve import read_curve
from raymaskdp.train.run.setup import RunSetup


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run. Everything here may be published.

    Attributes:
      run: its folder.
      mechanism, adjacency, unit, delta, noise_multiplier, clipping_norm, clips, steps: of its plan.
      epsilon: the tighter of `epsilon_rdp` and `epsilon_pld`; None without a guarantee.
      updates: of the model: fewer than `steps` if steps were repeated after a crash under other
        circumstances, and counted again.
      model_epsilon: of the model, with the cost of its initial weights on the same data; None if they
        cost nothing.
      records: N, the number of records.
      trainable: number of trained parameters.
      public_loss: of the last step's public lot (of its whole lot if nothing is private); or None.
      warnings: facts that weaken the guarantee; a sentence each.
      finished_before: whether the run was already finished, and nothing was done.
    """

    run: str
    mechanism: str
    adjacency: str
    unit: str
    epsilon: float | None
    epsilon_rdp: float | None
    epsilon_pld: float | None
    delta: float
    noise_multiplier: float
    clipping_norm: float
    clips: int
    steps: int
    updates: int
    records: int
    scheme: str
    trainable: int
    public_loss: float | None
    warnings: tuple[str, ...] = ()
    model_epsilon: float | None = None
    finished_before: bool = False

    def __str__(self) -> str:
        done = "was finished before; nothing to do" if self.finished_before else "is finished"
        if self.epsilon is None:
            privacy = "no privacy: every video is used as it is"
        else:
            privacy = (
                f"ε = {self.epsilon:.3g} at δ = {self.delta:g} for one {self.unit} "
                f"({self.adjacency} adjacency; RDP {self.epsilon_rdp:.3g}, PLD {self.epsilon_pld:.3g})"
            )
            if self.model_epsilon is not None:
                privacy = (
                    f"ε = {self.model_epsilon:.3g} at δ = {self.delta:g} for the model, with its initial "
                    f"weights; this run alone: {privacy}"
                )
        lost = self.steps - self.updates
        redone = f"{lost} of them repeated and counted again, " if lost else ""
        return "\n".join(
            [
                f"The run {self.run} {done}.",
                f"  {self.mechanism}, {self.steps} steps over {self.records} records, {redone}"
                f"{self.trainable} trained parameters ({self.scheme})",
                f"  {privacy}",
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )


def read_result(folder: Path) -> TrainResult:
    """The result of a finished run. Raises `Damaged` if its file is incomplete, or of another version."""
    return configuration.read_back(TrainResult, folder / "result.json")


def finish(setup: RunSetup) -> TrainResult:
    """Write the model and the result of a run from its last checkpoint; returns the result."""
    job, model = setup.job, setup.model
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    updates = checkpoint.load_result(job.checkpoint_file, model=model, identity=job.identity)
    models.save_weights(job.folder / "model.safetensors", model)
    curve = read_curve(job.curve_file)
    cost, plan = job.plan.cost(), job.plan
    result = TrainResult(
        run=str(job.folder),
        mechanism=plan.mechanism,
        adjacency=plan.adjacency,
        unit=plan.unit,
        epsilon=finite_or_none(cost.epsilon),
        epsilon_rdp=finite_or_none(cost.rdp),
        epsilon_pld=finite_or_none(cost.pld),
        delta=plan.delta,
        noise_multiplier=plan.noise_multiplier,
        clipping_norm=plan.clipping_norm,
        clips=plan.clips,
        steps=plan.steps,
        updates=updates,
        records=plan.num_records,
        scheme=job.config.scheme,
        trainable=trainable,
        public_loss=curve[-1].public_loss,
        warnings=(*plan.warnings, *warnings_of(job.config, setup.store, plan)),
        model_epsilon=epsilon_with_before(job.config, setup.store, plan),
    )
    write_json(job.folder / "result.json", asdict(result))
    return result
