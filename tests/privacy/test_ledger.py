"""The ledger is written ahead, survives crashes, and shows what was done to it."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raymaskdp.errors import Damaged, UserError
from raymaskdp.privacy import Key, Ledger, PrivacyPlan, commands, read_ledger

KEY = Key(secret=bytes(32))
OTHER = Key(secret=bytes([1] * 32))


def plan_with(**changes) -> PrivacyPlan:
    values = {
        "mechanism": "maskdp",
        "num_records": 100,
        "expected_batch": 10.0,
        "steps": 5,
        "delta": 1e-5,
        "noise_multiplier": 2.0,
    }
    return PrivacyPlan(**(values | changes))


def ledger_at(path: Path, steps: int, key: Key = KEY, **changes) -> Ledger:
    ledger = Ledger.open(path, plan=plan_with(**changes), key=key, fingerprint="data")
    for step in range(steps):
        ledger.write_ahead(step)
    return ledger


def test_a_run_can_be_read_back_and_verified(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 5)
    content = read_ledger(path)
    assert content.plan == plan_with()
    assert content.steps_spent == 5
    result = commands.verify(path, expected_steps=5)
    assert result.epsilon == pytest.approx(plan_with().epsilon())
    assert result.second_opinion == pytest.approx(result.epsilon, rel=0.01, abs=0.02)
    assert result.data is None
    assert commands.verify(path, fingerprint="data", key=KEY).data
    with pytest.raises(UserError, match="other data"):
        commands.verify(path, fingerprint="other", key=KEY)
    for key in (None, OTHER):
        with pytest.raises(UserError, match="only be checked with its key"):
            commands.verify(path, fingerprint="data", key=key)


@pytest.mark.parametrize("adjacency", ["zero-out", "replace"])
def test_an_unfinished_run_costs_what_it_spent(tmp_path, adjacency):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 2, adjacency=adjacency)
    result = commands.verify(path)
    assert result.epsilon == pytest.approx(plan_with(adjacency=adjacency).epsilon(2))
    assert result.epsilon < result.claimed_epsilon


def test_a_step_redone_with_the_same_key_is_free_and_with_another_counts(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 3)
    ledger_at(path, 3)
    assert read_ledger(path).steps_spent == 3
    again = Ledger.open(path, plan=plan_with(), key=OTHER, fingerprint="data")
    again.write_ahead(2)
    assert read_ledger(path).steps_spent == 4
    again.write_ahead(3)
    with pytest.raises(UserError, match="spent the plan's 5 steps"):
        again.write_ahead(4)


def resumed(path: Path, start: int, *, made_by: str | None = None, **circumstances: str) -> Ledger:
    """A session that starts with a checkpoint of the first attempt, unless `made_by` says another."""
    if made_by is None:
        made_by = KEY.fingerprint if start else ""
    return Ledger.open(
        path, plan=plan_with(), key=KEY, fingerprint="data", start=start, circumstances=circumstances,
        made_by=made_by,
    )  # fmt: skip


def test_a_step_redone_under_other_circumstances_is_another_release(tmp_path):
    path = tmp_path / "ledger.jsonl"
    first = resumed(path, 0, micro_batch="4")
    for step in range(3):
        first.write_ahead(step)
    same = resumed(path, 1, micro_batch="4")
    assert (same.key, same.attempt, same.redone) == (KEY, 0, 0)
    assert resumed(path, 3, micro_batch="8").key == KEY  # nothing is redone
    other = resumed(path, 2, micro_batch="8")
    assert other.key not in (KEY, OTHER)
    assert (other.attempt, other.redone) == (1, 1)
    other.write_ahead(2)
    again = resumed(path, 2, micro_batch="8")
    assert (again.key, again.redone) == (other.key, 1)
    assert read_ledger(path).steps_spent == 4
    assert read_ledger(path).is_of("data", KEY)
    third = resumed(path, 2, micro_batch="4")
    assert (third.attempt, third.redone) == (2, 2)
    third.write_ahead(2)
    with pytest.raises(UserError, match="spent the plan's 5 steps"):
        third.write_ahead(3)


def test_an_attempt_is_not_joined_before_its_first_step(tmp_path):
    """Its noise was added to sums at weights that a run which begins earlier comes to by another way."""
    path = tmp_path / "ledger.jsonl"
    first = resumed(path, 0, micro_batch="4")
    for step in range(2):
        first.write_ahead(step)
    second = resumed(path, 1, micro_batch="8")
    assert second.attempt == 1
    for step in (1, 2):
        second.write_ahead(step)
    assert resumed(path, 1, micro_batch="8").key == second.key
    third = resumed(path, 0, micro_batch="8")  # the checkpoint was removed
    assert (third.attempt, third.redone) == (2, 4)
    assert third.key not in (first.key, second.key)


def test_a_checkpoint_of_another_attempt_does_not_continue_the_latest(tmp_path):
    """It was put back from a copy: the latest attempt's noise was added to sums at other weights."""
    path = tmp_path / "ledger.jsonl"
    first = resumed(path, 0, micro_batch="4")
    for step in range(2):
        first.write_ahead(step)
    second = resumed(path, 0, micro_batch="8")
    for step in range(2):
        second.write_ahead(step)
    assert resumed(path, 1, made_by=second.key.fingerprint, micro_batch="8").attempt == 1
    assert resumed(path, 2, made_by=second.key.fingerprint, micro_batch="8").attempt == 1
    third = resumed(path, 1, made_by=first.key.fingerprint, micro_batch="8")
    assert (third.attempt, third.redone) == (2, 3)
    third.write_ahead(1)
    assert resumed(path, 1, made_by=first.key.fingerprint, micro_batch="8").attempt == 2
    assert resumed(path, 1, made_by=second.key.fingerprint, micro_batch="8").attempt == 3


def test_a_step_of_an_older_session_is_compared_with_that(tmp_path):
    """A checkpoint that is put back may lie behind the latest session."""
    path = tmp_path / "ledger.jsonl"
    for start, circumstances in ((0, "two workers"), (2, "one worker")):
        ledger = resumed(path, start, how=circumstances)
        for step in range(start, start + 2):
            ledger.write_ahead(step)
    assert resumed(path, 2, how="one worker").attempt == 0
    assert resumed(path, 1, how="one worker").attempt == 1


def test_data_are_committed_to_and_not_told(tmp_path):
    """A guess of the data cannot be checked without the key."""
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    for path, key in ((first, KEY), (second, OTHER)):
        Ledger.open(path, plan=plan_with(), key=key, fingerprint="data")
    told = [read_ledger(path).sessions[0].data for path in (first, second)]
    assert told[0] != told[1]
    text = first.read_text()
    guesses = ["data", *(hashlib.new(name, b"data").hexdigest() for name in ("sha256", "blake2b", "md5"))]
    assert not [guess for guess in guesses[1:] if guess in text]
    assert KEY.commit("data", "data") == told[0]


def test_steps_may_not_be_skipped_or_go_past_the_budget(tmp_path):
    ledger = ledger_at(tmp_path / "ledger.jsonl", 2)
    with pytest.raises(UserError, match="gap"):
        ledger.write_ahead(3)
    for step in (2, 3, 4):
        ledger.write_ahead(step)
    with pytest.raises(UserError, match="spent"):
        ledger.write_ahead(5)


def test_other_plans_and_other_data_are_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 1)
    with pytest.raises(UserError, match=r"noise_multiplier was 2\.0 and is 1\.0"):
        Ledger.open(path, plan=plan_with(noise_multiplier=1.0), key=KEY, fingerprint="data")
    with pytest.raises(UserError, match="other data"):
        Ledger.open(path, plan=plan_with(), key=KEY, fingerprint="other")


def changed(line: str, **values) -> str:
    return json.dumps(json.loads(line) | values, sort_keys=True)


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda lines: [lines[0], *lines[2:]], "changed: line 2"),
        (lambda lines: [*lines[:2], *lines[3:]], "changed: line 3"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "changed: line 3"),
        (lambda lines: [*lines[:3], changed(lines[3], step=0), *lines[4:]], "changed: line 4"),
        (lambda lines: [lines[0].replace("2.0", "9.0"), *lines[1:]], "changed: line 1"),
        (lambda lines: [changed(lines[0], epsilon=0.1), *lines[1:]], "changed: line 1"),
        (lambda lines: [*lines[:3], "nonsense", *lines[3:]], "Line 4"),
        (lambda lines: lines[:-2], "lines are missing at its end"),
    ],
)
def test_tampering_is_noticed(tmp_path, tamper, says):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 4)
    path.write_text("".join(line + "\n" for line in tamper(path.read_text().splitlines())))
    with pytest.raises(UserError, match=says):
        commands.verify(path, expected_steps=4)


def rewritten(lines: list[str], number: int, change: Callable[[dict], object]) -> list[str]:
    """A ledger whose owner changed a line and all hashes."""
    entries = [json.loads(line) for line in lines]
    change(entries[number])
    head, found = "0" * 64, []
    for entry in entries:
        del entry["hash"]
        head = hashlib.sha256(f"{head}\n{json.dumps(entry, sort_keys=True)}".encode()).hexdigest()
        found.append(json.dumps({**entry, "hash": head}, sort_keys=True))
    return found


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, lambda entry: entry.update(epsilon=math.nan)),
        (0, lambda entry: entry.update(epsilon="a")),
        (0, lambda entry: entry.pop("plan")),
        (0, lambda entry: entry["plan"].update(noise_multiplier=math.inf)),
        (0, lambda entry: entry["plan"].update(unknown=1)),
        (1, lambda entry: entry["session"].pop("key")),
        (1, lambda entry: entry.update(session=[])),
        (2, lambda entry: entry.update(step=0.9)),
        (2, lambda entry: entry.update(step=None)),
        (2, lambda entry: entry.update(clipping_norm="a")),
        (3, lambda entry: entry.update(step=0)),  # a second time
    ],
)
def test_a_line_of_another_form_is_refused_in_a_sentence(tmp_path, number, change):
    """With all hashes made again, so that only its content is wrong."""
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 4)
    lines = path.read_text().splitlines()
    path.write_text("".join(line + "\n" for line in rewritten(lines, 0, lambda entry: None)))
    commands.verify(path)
    path.write_text("".join(line + "\n" for line in rewritten(lines, number, change)))
    with pytest.raises(Damaged, match=rf"[Ll]ine {number + 1} of the ledger"):
        commands.verify(path)


@pytest.mark.parametrize("text", ["", "\n", "[]\n", '{"hash": 3}\n', "half a li"])
def test_rubbish_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "ledger.jsonl"
    path.write_text(text)
    with pytest.raises(UserError):
        commands.verify(path)


def test_a_missing_ledger_is_refused(tmp_path):
    with pytest.raises(UserError, match="Cannot read"):
        commands.verify(tmp_path / "none.jsonl")


def test_a_line_cut_off_by_a_crash_is_dropped_on_resuming(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 3)
    whole = path.read_bytes()
    for cut in range(len(whole) - 20, len(whole)):
        path.write_bytes(whole[:cut])
        ledger = ledger_at(path, 0)
        assert ledger.content.steps_spent == 2
        ledger.write_ahead(2)
        assert path.read_bytes() == whole


def test_a_crash_while_the_first_line_is_written_heals(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 0)
    first = path.read_bytes().splitlines(keepends=True)[0]
    whole = ledger_at(tmp_path / "whole.jsonl", 2).content
    for cut in (0, 1, len(first) // 2, len(first) - 1, len(first)):
        path.write_bytes(first[:cut])
        assert ledger_at(path, 2).content == read_ledger(path) == whole


def test_announcing_a_step_does_not_get_slower(tmp_path, monkeypatch):
    """The work of a line must not grow with the lines before it: neither read, nor looked through."""
    plan = plan_with(steps=3000)
    ledger = Ledger.open(tmp_path / "ledger.jsonl", plan=plan, key=KEY, fingerprint="data")
    lines: list[int] = []

    def count(frame, event, arg):
        lines[-1] += event == "line"
        return count

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a test of thousands of lines waits for disks
    for step in range(3000):
        if step in (10, 2990):
            lines.append(0)
            sys.settrace(count)
        ledger.write_ahead(step)
        sys.settrace(None)
    assert lines[1] <= lines[0] + 5


def announce_and_die(path: Path, steps: int) -> None:
    ledger_at(path, steps)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_announced_is_there_after_a_kill(tmp_path):
    path = tmp_path / "ledger.jsonl"
    process = multiprocessing.get_context("fork").Process(target=announce_and_die, args=(path, 3))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert read_ledger(path).steps_spent == 3
    ledger_at(path, 5)
    assert commands.verify(path, expected_steps=5).steps_spent == 5


def test_a_run_without_noise_is_not_verified(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger_at(path, 1, mechanism="sgd", noise_multiplier=0.0)
    with pytest.raises(UserError, match="not private"):
        commands.verify(path)


def test_the_ledger_holds_no_secret(tmp_path):
    path = tmp_path / "ledger.jsonl"
    key = Key.draw()
    ledger_at(path, 2, key=key)
    assert key.secret.hex() not in path.read_text()
