"""What earlier runs cost: those that the first weights come from, and uncounted ones."""

from __future__ import annotations

from pathlib import Path

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.prices.composition import compose
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.same_videos import contents
from raymaskdp.train.data.store import ClipStore


def plans_before(config: TrainConfig, store: ClipStore) -> dict[str, PrivacyPlan]:
    """The plans of the private runs that `config.init` comes from, by their folders, latest first.

    They count whatever data they were on: what a run publishes would otherwise tell whether two stores share
    a video. Weights are recognised as a run's by the other files in its folder. Weights that were moved away
    are treated as public, like all pretrained weights (docs/privacy-guarantee.md). Raises `UserError` if a
    private run would start from one that was trained on some of the videos without noise, or if this is not
    known.
    """
    found: dict[str, PrivacyPlan] = {}
    init = config.init
    while init is not None:
        folder = Path(init).resolve().parent  # of the file itself, where a link leads to it
        plan_file, settings_file = folder / "plan.json", folder / "config.yaml"
        if str(folder) in found or not (plan_file.is_file() and settings_file.is_file()):
            break
        earlier = configuration.load(TrainConfig, settings_file)
        plan = configuration.read_back(PrivacyPlan, plan_file)
        if plan.noise_multiplier > 0:
            found[str(folder)] = plan
        elif config.privacy.mechanism != "sgd":
            _require_other_videos(config, folder, earlier, store)
        init = earlier.init
        if init is not None and not Path(init).exists():
            raise UserError(
                f"The initial weights {config.init} come from the run {folder}, which began with {init}, and "
                "that is gone, so what the weights cost is not known; put it back, or give other weights."
            )
    return found


def _require_other_videos(config: TrainConfig, folder: Path, earlier: TrainConfig, store: ClipStore) -> None:
    """Raise `UserError` if a run without privacy had any video of this store, or if that is not known."""
    shared = _shares_videos(earlier, store)
    if shared is None:
        raise UserError(
            f"The initial weights {config.init} come from the run {folder}, and its clip store "
            f"{earlier.data} cannot be read any more, so whether it had the same videos is not known; "
            "copy the weights out of the run's folder if they are public, or give others."
        )
    if shared:
        raise UserError(
            f"The initial weights {config.init} come from the run {folder}, which was trained on the "
            "same data without privacy, so no ε would hold; give other weights, or none."
        )


def warnings_of(config: TrainConfig, store: ClipStore, plan: PrivacyPlan) -> tuple[str, ...]:
    """Costs that a run's own ε does not include, a sentence each; none if its first weights are public, and
    its data has a budget.

    The statement of a plan covers the model, which includes the information of its first weights.
    """
    before = plans_before(config, store)
    if plan.noise_multiplier == 0:
        return ()
    # The warning is published, so it does not say where the data is.
    uncounted = (
        "This run is counted in no budget, because its data is at a URL; add up the runs on this data "
        "yourself.",
    )
    return (*(uncounted if store.url else ()), *_cost_with_before(plan, before))


def _cost_with_before(plan: PrivacyPlan, before: dict[str, PrivacyPlan]) -> tuple[str, ...]:
    if not before:
        return ()
    together = compose([plan, *before.values()])
    about = f" about {together.about}" if together.about else ""
    return (
        f"The initial weights come from {' and '.join(before)}: for videos that are in the data of both, the "
        f"model has cost epsilon = {together.cost(plan.delta).epsilon:.4g}{about} at delta = {plan.delta:g}, "
        f"and not {plan.epsilon():.4g} alone.",
    )


def epsilon_with_before(config: TrainConfig, store: ClipStore, plan: PrivacyPlan) -> float | None:
    """ε of a run and of all private runs that its first weights come from; None without such."""
    before = plans_before(config, store)
    if not before or plan.noise_multiplier == 0:
        return None
    return compose([plan, *before.values()]).cost(plan.delta).epsilon


def _shares_videos(earlier: TrainConfig, store: ClipStore) -> bool | None:
    """Whether a run was on any video of this store, of any size; None if its store cannot be read.

    Videos are the same if their clips were made from files with the same content, or have the same frames. A
    file that was encoded anew and prepared at another size is not recognized.
    """
    if str(earlier.data) == (store.url or str(store.path)):
        return True
    try:
        other = ClipStore.open(earlier.data)
    except (UserError, OSError):
        return None
    if other.fingerprint == store.fingerprint:
        return True
    here, there = (contents(one) for one in (store, other))
    return None if here is None or there is None else not here.isdisjoint(there)
