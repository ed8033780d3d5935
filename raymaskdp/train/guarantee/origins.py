"""Where a run's initial weights come from: a run on the same data has released something of it already."""

from __future__ import annotations

from pathlib import Path

from raymaskdp import config as configuration
from raymaskdp.errors import UserError
from raymaskdp.privacy import PrivacyPlan
from raymaskdp.privacy.prices.accounting import composed_cost
from raymaskdp.train.config import TrainConfig
from raymaskdp.train.data.store import ClipStore


def plans_before(config: TrainConfig, store: ClipStore) -> dict[str, PrivacyPlan]:
    """The plans of the runs on the same data that `config.init` comes from, by their folders, latest first.

    Weights are known to be of a run by the files that lie beside them in its folder. Weights that were moved
    away are taken as public, as docs/privacy-guarantee.md says of all pretrained weights. Raises `UserError`
    if a private run would start from one that was trained on the same data without noise.
    """
    found: dict[str, PrivacyPlan] = {}
    init = config.init
    while init is not None:
        folder = Path(init).absolute().parent
        plan_file, settings_file = folder / "plan.json", folder / "config.yaml"
        if str(folder) in found or not (plan_file.is_file() and settings_file.is_file()):
            break
        earlier = configuration.load(TrainConfig, settings_file)
        if _same_data(earlier, store):
            found[str(folder)] = configuration.read_back(PrivacyPlan, plan_file)
        init = earlier.init
    for place, plan in found.items():
        if plan.noise_multiplier == 0 and config.privacy.mechanism != "sgd":
            raise UserError(
                f"The initial weights {config.init} come from the run {place}, which was trained on the same "
                "data without privacy, so no ε would hold; give other weights, or none."
            )
    return found


def warnings_of(config: TrainConfig, store: ClipStore, plan: PrivacyPlan) -> tuple[str, ...]:
    """What a run's own ε leaves out, a sentence; none where its first weights tell nothing of the data.

    The statement of a plan is about the model, which has all of what its first weights had.
    """
    epsilon = epsilon_with_before(config, store, plan)
    if epsilon is None:
        return ()
    before = " and ".join(plans_before(config, store))
    return (
        f"The initial weights come from {before}, trained on the same data: the model has cost "
        f"epsilon = {epsilon:.4g} at delta = {plan.delta:g}, and not {plan.epsilon():.4g} alone.",
    )


def epsilon_with_before(config: TrainConfig, store: ClipStore, plan: PrivacyPlan) -> float | None:
    """ε of a run and of all runs on the same data that its first weights come from; None without such."""
    before = plans_before(config, store)
    if not before or plan.noise_multiplier == 0:
        return None
    return composed_cost([plan.event(), *(one.event() for one in before.values())], plan.delta).epsilon


def _same_data(earlier: TrainConfig, store: ClipStore) -> bool:
    """Whether a run was on this store; one that is gone is another, unless it was at the same place."""
    if str(earlier.data) == (store.url or str(store.path)):
        return True
    try:
        return ClipStore.open(earlier.data).fingerprint == store.fingerprint
    except (UserError, OSError):
        return False
