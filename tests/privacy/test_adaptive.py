"""A clipping norm that follows noisy counts: one Gaussian release, at the price that it had, and no more."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.zoo import build, losses_of
from torch import Tensor, nn

from raymaskdp.errors import UserError
from raymaskdp.privacy import ClippedSum, GradientEngine, Key, Ledger, PrivacyPlan, noise, read_ledger
from raymaskdp.privacy.audit import audit, run_plan
from raymaskdp.privacy.choices import AdaptiveNorm
from raymaskdp.privacy.commands import verify
from raymaskdp.privacy.noise_ahead import NoiseAhead
from raymaskdp.privacy.per_record.adaptive import COUNT, AdaptiveClipping

KEY = Key(secret=bytes(range(32)))


def plan_with(mechanism: str = "multiclip", **changes) -> PrivacyPlan:
    settings = {
        "mechanism": mechanism, "num_records": 100, "expected_batch": 10.0, "steps": 20, "delta": 1e-5,
        "noise_multiplier": 1.3, "clipping": "adaptive",
    }  # fmt: skip
    return PrivacyPlan(**(settings | changes))


def clipping_of(plan: PrivacyPlan) -> AdaptiveClipping:
    clipping = plan.make_clipping()
    assert isinstance(clipping, AdaptiveClipping)
    return clipping


@pytest.mark.parametrize("adjacency", ["zero-out", "add-remove", "replace"])
@pytest.mark.parametrize("share", [0.01, 0.3])
def test_sum_and_count_cost_what_one_release_costs(adjacency, share) -> None:
    """z_sum = (z⁻² − (2 σ_b)⁻²)^(−1/2), with σ_b the noise of the count in records."""
    plan = plan_with(adjacency=adjacency, adaptive=AdaptiveNorm(count_share=share))
    flat = dataclasses.replace(plan, clipping="flat", adaptive=None)
    assert plan.event() == flat.event()
    assert plan.cost() == flat.cost()
    clipping = clipping_of(plan)
    of_sum = plan.noise_std / plan.clipping_norm / (1 + noise.MARGIN)
    of_count = plan.noise_std / clipping.scale / (1 + noise.MARGIN)
    assert of_sum == pytest.approx((plan.noise_multiplier**-2 - (2 * of_count) ** -2) ** -0.5, rel=1e-12)
    assert of_sum > flat.noise_multiplier
    # The residual of a record can take the place of nothing: it moves the count by 1 and not by a half.
    residual = plan_with("maskdp", adaptive=AdaptiveNorm(count_share=share))
    of_count = residual.noise_std / clipping_of(residual).scale / (1 + noise.MARGIN)
    assert of_sum == pytest.approx((residual.noise_multiplier**-2 - of_count**-2) ** -0.5, rel=1e-12)


def contribution(plan: PrivacyPlan, norm: float) -> np.ndarray:
    """What one record whose gradient is so long adds: along its gradient, and to the count."""
    model = nn.Linear(1, 1, bias=False)
    engine = GradientEngine(model, plan)
    weights = torch.ones(1, 1)
    with engine.record(num_records=1, views=2 if plan.mechanism == "maskdp" else 1):
        views = torch.tensor([[norm], [0.0]]) if plan.mechanism == "maskdp" else torch.tensor([[norm]])
        found = engine.clipped_sum(model(views)[:, 0], weights).gradients
    return np.array([float(found["weight"]), float(found[COUNT])])


NORMS = [0.0, 1e-3, 0.5, 0.999, 1.0, 1.001, 7.0, 1e6, math.nan, math.inf]


@pytest.mark.parametrize(
    ("mechanism", "adjacency"),
    [
        ("dpsgd", "add-remove"), ("multiclip", "zero-out"), ("multiclip", "replace"),
        ("maskdp", "zero-out"), ("maskdp", "replace"),
        ("maskdp-full", "zero-out"), ("maskdp-full", "replace"),
    ],
)  # fmt: skip
def test_one_record_moves_sum_and_count_by_what_is_accounted_for(mechanism, adjacency) -> None:
    """By enumeration of what a record may be in two adjacent data sets, at several norms in force."""
    plan = plan_with(mechanism, adjacency=adjacency, adaptive=AdaptiveNorm(count_share=0.2))
    for in_force in (1.0, 0.02, 40.0):
        now = plan.at(in_force)
        found = {norm: contribution(now, norm * in_force) for norm in NORMS}
        nothing = np.zeros(2)
        if plan._contribution == "two-sided":  # any two records, each within the bound
            pairs = list(itertools.product(found.values(), repeat=2))
            assert max(np.linalg.norm(one) for one in found.values()) <= now.sensitivity / 2 * (1 + 1e-6)
        elif mechanism == "maskdp":  # one that is blank, and so has no residual, or the other one
            assert (found[0.0] == nothing).all()
            pairs = [(found[0.0], one) for one in found.values()]
        else:  # one that is not there
            assert (found[0.0] == nothing).all()
            pairs = [(nothing, one) for one in found.values()]
        moved = [float(np.linalg.norm(one - other)) for one, other in pairs]
        assert max(moved) <= now.sensitivity * (1 + 1e-6)
        # Attained where one is longer than C and the other is nothing; two in opposite directions would be.
        assert max(moved) >= now.sensitivity * (0.45 if plan._contribution == "two-sided" else 1) * (1 - 1e-6)
        assert (found[math.nan] == nothing).all()


def test_the_norm_follows_the_released_count_and_stays_within_limits() -> None:
    adaptive = AdaptiveNorm(quantile=0.7, rate=0.5, least=0.5, most=2.0)
    plan = plan_with(adaptive=adaptive)
    scale = clipping_of(plan).scale
    for longer in (0, 2, 5, 10):  # of the ten that are expected
        update = {COUNT: torch.tensor((longer - 5) * scale / 10)}
        wanted = math.exp(-0.5 * ((1 - longer / 10) - 0.7))
        assert plan.next_norm(update) == pytest.approx(wanted, rel=1e-6)
    assert plan.next_norm({COUNT: torch.tensor(1e6)}) == 2.0
    assert plan.next_norm({COUNT: torch.tensor(-1e6)}) == 0.5
    assert dataclasses.replace(plan, clipping="flat", adaptive=None).next_norm({}) == 1.0


def norms_of(
    plan: PrivacyPlan, lengths_N: Tensor, workers: int = 1, first: float | None = None, start: int = 0
) -> list[float]:
    """C of every step of training on records whose gradients are so long; each a micro-batch of its own."""
    model = nn.Linear(1, 1, bias=False)
    engine = GradientEngine(model, plan)
    engine.clip_as(now := plan.at(first or plan.clipping_norm))
    shapes = {name: tuple(value.shape) for name, value in engine.zero_sum().gradients.items()}
    found = []
    with NoiseAhead(now, KEY, shapes, range(start, plan.steps)) as ahead:
        for step in range(start, plan.steps):
            now = ahead.plan
            engine.clip_as(now)
            found.append(now.clipping_norm)
            totals = [now.on_grid(engine.zero_sum()) for _ in range(workers)]
            for place, record in enumerate(plan.lot(KEY, step)):
                with engine.record(num_records=1, views=1):
                    losses = model(lengths_N[record].view(1, 1))[:, 0]
                    totals[place % workers] += now.on_grid(engine.clipped_sum(losses, torch.ones(1, 1)))
            ahead.private_update(sum(totals[1:], totals[0]), step)
    return [*found, ahead.plan.clipping_norm]


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_the_norm_approaches_the_quantile_that_is_wanted(quantile) -> None:
    lengths_N = torch.from_numpy(np.random.default_rng(0).lognormal(1.0, 0.7, 400)).float()
    plan = plan_with(
        num_records=400, expected_batch=60.0, steps=120, noise_multiplier=1.0, clipping_norm=0.1,
        adaptive=AdaptiveNorm(quantile=quantile),
    )  # fmt: skip
    late = norms_of(plan, lengths_N)[-40:]
    assert float((lengths_N <= np.median(late)).float().mean()) == pytest.approx(quantile, abs=0.08)


def test_the_path_is_the_same_on_all_workers_and_after_a_restart() -> None:
    lengths_N = torch.from_numpy(np.random.default_rng(1).lognormal(0.0, 1.0, 100)).float()
    plan = plan_with(steps=12)
    path = norms_of(plan, lengths_N)
    assert len(set(path)) == len(path)
    assert norms_of(plan, lengths_N) == path
    assert norms_of(plan, lengths_N, workers=2) == path
    assert norms_of(plan, lengths_N, workers=3) == path
    for start in (1, 5, 11):
        assert norms_of(plan, lengths_N, first=path[start], start=start) == path[start:]


def test_the_count_is_a_whole_number_of_steps_with_noise_of_its_own() -> None:
    plan = plan_with(num_records=3000, expected_batch=1.0, steps=2000)
    shapes = {COUNT: (), "w": (2,)}
    nothing = ClippedSum({COUNT: torch.zeros((), dtype=torch.float64), "w": torch.zeros(2)})
    counts, others = [], []
    for step in range(plan.steps):
        update = plan.released(plan.on_grid(nothing), drawn := plan.whole_noise(KEY, step, shapes))
        assert drawn[COUNT].dtype == torch.int64
        counts.append(float(update[COUNT]) / clipping_of(plan).scale)
        others.append(float(update["w"][0]))
    wanted = plan.noise_std / clipping_of(plan).scale
    assert stats.kstest(np.array(counts) / wanted, "norm").pvalue > 1e-3
    assert abs(stats.pearsonr(counts, others).statistic) < 0.08


def test_the_statement_says_how_far_a_record_moves_both() -> None:
    for plan, longer in (
        (plan_with("multiclip"), "at most 0.5"),
        (plan_with("multiclip", adjacency="replace"), "at most 1"),
        (plan_with("maskdp"), "at most 1"),
        (plan_with("maskdp-full"), "at most 1"),
    ):
        assert "starts at 1 and stays within 0.001 and 1000" in plan.guarantee_statement
        assert f"the count of those that are longer by {longer}." in plan.guarantee_statement


def test_a_step_is_not_redone_with_another_norm_under_the_same_noise(tmp_path) -> None:
    path = tmp_path / "ledger.jsonl"
    plan = plan_with(steps=3)
    ledger = Ledger.open(path, plan=plan, key=KEY, fingerprint="data")
    ledger.write_ahead(0, clipping_norm=1.0)
    ledger.write_ahead(1, clipping_norm=1.0625)
    again = Ledger.open(path, plan=plan, key=KEY, fingerprint="data", start=1, made_by=KEY.fingerprint)
    again.write_ahead(1, clipping_norm=1.0625)
    with pytest.raises(UserError, match=r"with the clipping norm 1\.0625 and would be redone with 1\.07"):
        again.write_ahead(1, clipping_norm=1.07)
    content = read_ledger(path)
    assert content.norms == {(KEY.fingerprint, 0): 1.0, (KEY.fingerprint, 1): 1.0625}
    assert content.plan == plan
    assert verify(path).epsilon == pytest.approx(plan.epsilon(2))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"noise_multiplier": 0.0}, "needs noise"),
        ({"clipping": "flat", "adaptive": AdaptiveNorm()}, "clipping=flat; remove them"),
        ({"clipping": "per-layer", "adaptive": AdaptiveNorm()}, "clipping=per-layer; remove them"),
        ({"clipping_norm": 2e3}, r"clipping_norm must be in \[0.001, 1000\]"),
    ],
)
def test_what_does_not_fit_is_refused(changes, says) -> None:
    with pytest.raises(UserError, match=says):
        plan_with(**changes)


@pytest.mark.parametrize("wrong", [{"quantile": 1.0}, {"rate": 0.0}, {"count_share": 0.0}, {"least": 2e3}])
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(UserError, match="adaptive"):
        AdaptiveNorm(**wrong)


def test_several_layers_are_clipped_as_one() -> None:
    """The count is of whole records; and a plan for one norm is no sum of another's."""
    model, shape = build("tokens", 0)
    plan = plan_with(clips=1, clipping_norm=0.01)
    engine = GradientEngine(model.float(), plan)
    assert engine.adapts
    with engine.record(num_records=5):
        views = torch.randn(5, *shape, generator=torch.manual_seed(0))
        found = engine.clipped_sum(losses_of(model, views, torch.zeros(5, dtype=torch.long)))
    assert float(found.gradients[COUNT]) == pytest.approx(2.5 * clipping_of(plan).scale)
    parts = [value.flatten().double() for name, value in found.gradients.items() if name != COUNT]
    assert float(torch.cat(parts).norm()) <= 5 * 0.01 * (1 + 1e-6)


@pytest.mark.parametrize("mechanism", ["maskdp", "multiclip"])
def test_an_adaptive_program_passes_the_audit(mechanism) -> None:
    plan = plan_with(mechanism, num_records=400, expected_batch=20.0, clips=2, steps=8, noise_multiplier=0.7)
    report = audit(run_plan, plan, seed=1)
    assert report.findings == ()
    assert report.epsilon_at_least > 0
    quiet = audit(lambda records, chosen, key: run_plan(records, plan_quiet(chosen), key), plan)
    assert any("standard deviation" in finding for finding in quiet.findings)


def plan_quiet(plan: PrivacyPlan) -> PrivacyPlan:
    return dataclasses.replace(plan, noise_multiplier=plan.noise_multiplier / 2)
