"""All runs on a data set are counted together, and a limit refuses the next one before it starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dp_accounting import NeighboringRelation, rdp
from support.changes import changed

from raymaskdp.cli import main
from raymaskdp.errors import UserError
from raymaskdp.privacy.prices.accounting import ORDERS, composed_cost, dp_event
from raymaskdp.train import TrainConfig, train
from raymaskdp.train.guarantee.check import budget_of
from raymaskdp.train.run.setup import set_up


@pytest.fixture
def base(base, store_path, tmp_path) -> TrainConfig:
    shutil.copytree(store_path, tmp_path / "clips", ignore=shutil.ignore_patterns("private"))
    return changed(base, data=tmp_path / "clips", steps=2)


def test_all_runs_are_composed_by_both_accountants(base) -> None:
    configs = [base, changed(base, seed=1), changed(base, privacy__noise_multiplier=2.0, steps=3)]
    for config in configs:
        train(config)
    train(base)  # finished, so nothing is added
    found = budget_of(str(base.data), delta=1e-3)
    assert [one.run for one in found.runs] == [str(set_up(config).job.folder) for config in configs]
    accountant = rdp.RdpAccountant(ORDERS, NeighboringRelation.REPLACE_SPECIAL)
    for config in configs:
        accountant.compose(dp_event(set_up(config).job.plan.event()))
    assert found.rdp == pytest.approx(accountant.get_epsilon(1e-3), rel=0.005)
    assert max(one.epsilon for one in found.runs) < found.pld <= found.rdp
    assert found.epsilon == found.pld
    assert "There is no limit" in str(found)


def test_a_run_beyond_the_limit_is_refused_before_it_starts(base) -> None:
    first = train(base)
    before = budget_of(str(base.data), delta=1e-2).epsilon
    found = budget_of(str(base.data), limit=1.3 * before, delta=1e-2)
    assert found.left == pytest.approx(0.3 * before, rel=1e-3)
    other = changed(base, seed=1)
    with pytest.raises(UserError, match=r"all 2 runs on .* would cost ε = .* but their limit is"):
        train(other)
    assert not set_up(other).job.ledger_file.exists()
    with pytest.raises(UserError, match="would cost ε = inf"):
        train(changed(base, privacy__mechanism="sgd", privacy__noise_multiplier=None))
    assert train(changed(other, privacy__noise_multiplier=50.0)).updates == 2  # that fits
    assert budget_of(str(base.data)).runs[0].run == first.run
    with pytest.raises(UserError, match="cannot be their limit"):
        budget_of(str(base.data), limit=0.5 * before, delta=1e-2)


def test_a_run_that_is_made_anew_counts_again(base) -> None:
    """Another key in the same folder is another run; going on with the same key is not."""
    run = Path(train(base).run)
    (run / "result.json").unlink()
    train(base)
    assert len(budget_of(str(base.data)).runs) == 1
    shutil.rmtree(run)
    train(base)
    assert [one.run for one in budget_of(str(base.data)).runs] == [str(run)] * 2


def test_a_damaged_list_is_no_empty_list(base) -> None:
    train(base)
    path = base.data / "private" / "runs.jsonl"
    path.write_text(path.read_text()[30:])  # a line that was never finished is another matter (tests/field)
    with pytest.raises(UserError, match=r"Line 1 of .* is damaged"):
        train(changed(base, seed=1))


def test_a_run_that_released_nothing_counts_once(base, monkeypatch) -> None:
    """It was stopped between its line in the list and the first line of its ledger, and is begun again."""

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    for broken in (1, 2):
        with monkeypatch.context() as patched:
            patched.setattr("raymaskdp.train.loop.run", killed)
            with pytest.raises(KeyboardInterrupt):
                train(base)
        assert len(budget_of(str(base.data)).runs) == 1, broken
    run = Path(train(base).run)
    assert len(budget_of(str(base.data)).runs) == 1
    assert not (run / "private" / "unused").exists()


def test_runs_that_protect_different_things_are_counted_by_what_all_of_them_bound(base) -> None:
    """Blank tokens move the sum of dpsgd by up to 2 C, a missing record by C: their ε do not compose."""
    other = changed(base, privacy__mechanism="dpsgd", privacy__public_batch=None, privacy__clips=1)
    train(base)
    assert budget_of(str(base.data)).about is None
    train(other)
    found = budget_of(str(base.data), delta=1e-2)
    plans = [replace(set_up(one).job.plan, adjacency="replace") for one in (base, other)]
    assert found.epsilon == pytest.approx(composed_cost([plan.event() for plan in plans], 1e-2).epsilon)
    assert (
        found.epsilon
        > 1.5 * composed_cost([replace(plan, adjacency="zero-out").event() for plan in plans], 1e-2).epsilon
    )
    assert "what the sensitive tokens of any one video are (replace adjacency)" in str(found)
    assert "(maskdp, video, zero-out)" in str(found)


def test_runs_on_other_stores_of_the_same_videos_are_counted_together(base, tmp_path) -> None:
    other = tmp_path / "other"
    shutil.copytree(base.data, other, ignore=shutil.ignore_patterns("private"))
    train(base)
    train(changed(base, data=other, seed=1))
    alone, both = budget_of(str(base.data)), budget_of(str(base.data), others=[str(other), str(other) + "/"])
    assert (len(alone.runs), len(both.runs)) == (1, 2)
    assert alone.epsilon < both.epsilon
    with pytest.raises(UserError, match="A limit is of one clip store"):
        budget_of(str(base.data), others=[str(other)], limit=9.0)


def test_the_budget_is_a_command(base, tmp_path, capsys) -> None:
    train(base)
    shutil.copytree(base.data, tmp_path / "other")
    for settings in ((), ("delta=1e-3",), ("limit=90", "delta=1e-3"), (f"others=[{tmp_path / 'other'}]",)):
        assert main(["privacy", "budget", str(base.data), *settings]) == 0
        assert "All together: ε = " in capsys.readouterr().out
