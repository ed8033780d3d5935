"""Commands about privacy guarantees: accounting, ledgers, budgets, and attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raymaskdp.cli.command_classes import CONTEXT, group
from raymaskdp.cli.parameters import PATH, json_option, show
from raymaskdp.cli.settings_of import settings_of


@group()
def privacy() -> None:
    """Privacy accounting, and the check of a run's ledger."""


def _show_price(settings: Any, as_json: bool) -> None:
    from raymaskdp.privacy import PrivacyPlan, commands

    show(commands.price(PrivacyPlan.calibrate(**vars(settings))), as_json)


@privacy.command(context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.cli.options:EpsilonOptions")
def epsilon(settings: Any, as_json: bool) -> None:
    """The ε for a noise multiplier."""
    _show_price(settings, as_json)


@privacy.command(context_settings=CONTEXT)
@json_option
@settings_of("raymaskdp.cli.options:SigmaOptions")
def sigma(settings: Any, as_json: bool) -> None:
    """The noise multiplier for a target ε."""
    _show_price(settings, as_json)


@privacy.command(context_settings=CONTEXT)
@click.argument("ledger", type=PATH)
@json_option
@settings_of("raymaskdp.cli.options:VerifyOptions")
def verify(ledger: Path, settings: Any, as_json: bool) -> None:
    """Recompute with a second library the cost of the run of LEDGER (or of a run folder), and check its
    claims.
    """
    from raymaskdp.train.guarantee.check import verify as run

    show(run(ledger, **vars(settings)), as_json)


@privacy.command(context_settings=CONTEXT)
@click.argument("data")
@json_option
@settings_of("raymaskdp.cli.options:BudgetOptions")
def budget(data: str, settings: Any, as_json: bool) -> None:
    """The total cost of all runs on the clip store DATA, and the limit for later ones."""
    from raymaskdp.train.guarantee.check import budget_of

    show(budget_of(data, **vars(settings)), as_json)


@group()
def audit() -> None:
    """Attacks on anonymized videos and on private training; exit status 1 means that a leak was found."""


@audit.command("anonymization", context_settings=CONTEXT)
@click.argument("folder", type=PATH)
@click.argument("sources", type=PATH)
@click.option("--out", type=PATH, help="Folder for the result (FOLDER-audit beside FOLDER).")
@json_option
@settings_of("raymaskdp.audit:AnonymizationAuditConfig")
def audit_anonymization(folder: Path, sources: Path, out: Path | None, settings: Any, as_json: bool) -> int:
    """Try to find the people of SOURCES in the anonymized videos of FOLDER.

    SOURCES is the manifest, or the folder, that was anonymized.
    Attackers of appearance and motion are trained here, each with a control; leaks, faces, action and pose
    are measured. Reads the source videos; writes figures, but none of their frames.
    """
    from raymaskdp.audit import audit_anonymization as run

    result = run(folder, sources, out, settings)
    show(result, as_json)
    return 1 if result.findings else 0


@audit.command("training", context_settings=CONTEXT)
@click.argument("run", type=PATH, required=False)
@click.option("--out", type=PATH, default=Path("audit-training"), show_default=True, help="For the result.")
@json_option
@settings_of("raymaskdp.audit:TrainingAuditConfig")
def audit_training(run: Path | None, out: Path, settings: Any, as_json: bool) -> int:
    """Try to learn from private training more than its epsilon allows.

    Without RUN, the private step is audited at a reference plan; with it, also at that run's plan. `models=8`
    also trains eight models as RUN was, and attacks them by membership inference. Status 1 means that the
    proven ε exceeds the claimed one, or that a deliberately broken program was not detected.
    """
    from raymaskdp.audit import audit_training as run_audit

    result = run_audit(run, out, settings)
    show(result, as_json)
    return 1 if result.findings else 0
