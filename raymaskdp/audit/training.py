"""`raymaskdp audit training`: try to learn from private training more than its ε allows.

Canaries bound ε from below for the private step of a run, and the same audit must detect deliberately broken
programs. Models trained as the run was are attacked by membership inference. An image is reconstructed from a
gradient, with and without privacy.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2

from raymaskdp import config, files
from raymaskdp.audit import figures
from raymaskdp.audit.attacks.canaries import REFERENCE, CanaryTest, audit_canaries
from raymaskdp.audit.attacks.inversion import Inversion, invert
from raymaskdp.audit.attacks.membership import Membership, attack_membership
from raymaskdp.audit.config import TrainingAuditConfig
from raymaskdp.audit.real_loop import audit_loop
from raymaskdp.errors import UserError
from raymaskdp.places import LocalPath
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.sweep.tuner import train_all
from raymaskdp.train import TrainConfig

NOTE = (
    "Membership figures and their plot are measured on private records and are not covered by ε: keep them "
    "with the data. Canaries and the inverted image are artificial and may be published."
)


@dataclass(frozen=True, kw_only=True)
class TrainingAudit:
    """The result.

    Attributes:
      folder: the folder of the result: audit.json, tables as CSV, plots as SVG and PNG.
      run: the audited run; None for the reference plan alone.
      canaries, membership, inversion: results of the measurements.
      findings: problems, in sentences; empty if there are none.
      release: the parts that may be published.
    """

    folder: str
    run: str | None
    canaries: tuple[CanaryTest, ...]
    membership: tuple[Membership, ...]
    inversion: Inversion
    findings: tuple[str, ...]
    release: str = NOTE

    def __str__(self) -> str:
        lines = []
        for test in self.canaries:
            verdict = "as it must be" if test.as_expected else "WRONG"
            lines.append(
                f"  {test.program}, canaries: {test.canaries}: ε ≥ {test.at_least:.2f} proven, "
                f"{test.claimed:.2f} claimed, noise × {test.noise:.2f}: {verdict}"
            )
        lines += [
            f"  membership by {m.attack}, {m.mechanism}: AUC {m.auc:.2f}, TPR {m.tpr:.1%} at FPR {m.fpr:.0%} "
            f"({m.models} models, {m.records} records)"
            for m in self.membership
        ]
        lines.append(
            f"  an image from a gradient: {self.inversion.not_private:.0f} dB, "
            f"from a private update: {self.inversion.private:.0f} dB"
        )
        lines += [f"FINDING: {finding}" for finding in self.findings] or ["No problem was found."]
        return "\n".join([*lines, self.release, f"Written to {self.folder}."])


def audit_training(
    run: LocalPath | None = None,
    out: LocalPath = "audit-training",
    settings: TrainingAuditConfig | None = None,
) -> TrainingAudit:
    """Audit the private step, and the run in the folder `run`, if one is given.

    Raises:
      UserError: `run` is not a run of `train`, or one without privacy.
    """
    settings = settings or TrainingAuditConfig()
    place = Path(out)
    trained = _read_run(Path(run)) if run is not None else None
    if trained is None and settings.models:
        raise UserError("Membership inference needs a run; give the folder that train wrote, or models=0.")
    plan = trained[1] if trained else None
    files.make_folder(place)
    audited = "the reference plan" if run is None else Path(run)
    files.require_ours(place / "audit.json", of=audited)  # before the work
    canaries = audit_canaries(plan, runs=settings.runs, seed=settings.seed)
    if settings.loop_steps:
        canaries += audit_loop(plan, steps=settings.loop_steps, seed=settings.seed)
    membership: tuple[Membership, ...] = ()
    if trained and settings.models:
        membership = _membership(trained[0], place, settings)
    inversion, picture_HW3 = invert(plan or REFERENCE, seed=settings.seed)
    result = TrainingAudit(
        folder=str(place),
        run=None if run is None else str(run),
        canaries=canaries,
        membership=membership,
        inversion=inversion,
        findings=tuple(_findings(canaries, membership)),
    )
    figures.table(place / "canaries", [asdict(test) for test in canaries])
    if membership:
        figures.curves(
            place / "membership",
            [
                (
                    f"{m.attack}, "
                    + ("not private" if m.claimed is None else f"{m.mechanism}, ε = {m.claimed:.3g}"),
                    m.roc_fpr,
                    m.roc_tpr,
                )
                for m in membership
            ],
        )
        rows = [asdict(m) for m in membership]
        figures.table(place / "membership", [{k: v for k, v in r.items() if k[:4] != "roc_"} for r in rows])
    with files.atomic_path(place / "inversion.png") as temporary:
        large = cv2.resize(picture_HW3, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
        if not cv2.imwrite(str(temporary), large[..., ::-1]):
            raise RuntimeError("OpenCV could not write the inverted picture.")
    files.write_json(place / "audit.json", {"kind": "training", **config.to_dict(result)}, of=audited)
    return result


def read_audit(path: Path) -> TrainingAudit:
    """A result from its audit.json."""
    return config.read_back(TrainingAudit, path, without=("kind",))


def _read_run(folder: Path) -> tuple[TrainConfig, PrivacyPlan]:
    if not (folder / "result.json").is_file():
        raise UserError(f"{folder} is not a finished run; give a folder that train wrote.")
    trained = config.load(TrainConfig, folder / "config.yaml")
    plan = config.read_back(PrivacyPlan, folder / "plan.json")
    if plan.mechanism == "sgd":
        raise UserError(f"The run {folder} is not private, so there is no ε to audit.")
    return trained, plan


def _membership(trained: TrainConfig, place: Path, settings: TrainingAuditConfig) -> tuple[Membership, ...]:
    kinds = [trained]
    if settings.compare:
        plain = replace(
            trained.privacy, mechanism="sgd", epsilon=None, noise_multiplier=None, public_batch=None
        )
        kinds.append(replace(trained, privacy=plain))
    found: list[Membership] = []
    for kind in kinds:
        # They contain private records, need much more space than the result, and must be visible to every
        # node of a cluster.
        with tempfile.TemporaryDirectory(prefix=".models-", dir=place) as work:
            found += attack_membership(
                kind, Path(work), models=settings.models, seed=settings.seed, train_all=train_all
            )
    return tuple(found)


def _findings(canaries: tuple[CanaryTest, ...], membership: tuple[Membership, ...]) -> list[str]:
    found = []
    for test in canaries:
        if test.as_expected:
            continue
        if test.expected == "holds":
            found.append(
                f"{test.program} (canaries: {test.canaries}) releases ε ≥ {test.at_least:.2f} with "
                f"{test.noise:.2f} times its noise; {test.claimed:.2f} is claimed."
            )
        else:
            found.append(f"{test.program} (canaries: {test.canaries}) must be detected and was not.")
    found += [
        f"Membership inference by {m.attack} proves ε ≥ {m.at_least:.2f}; {m.claimed:.2f} is claimed."
        for m in membership
        if m.claimed is not None and m.found
    ]
    return found
