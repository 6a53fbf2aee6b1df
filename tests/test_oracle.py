"""The oracle on lines that changed their policies, and on lines that are not finished."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_line import SETTINGS, MemoryLine, murmur2, objections, told

from processors.oracle import Score, score
from processors.oracle_facts import Check, Lag, Line
from processors.oracle_ledger import InvalidLedger, Ledger, read_ledger
from processors.oracle_story import as_document, tell, verdict
from schemas.log import Policies, Policy
from schemas.reasons import Step

WORLD = b'{"begin_ms":0,"kind":"world","random_state":1,"rate":1,"version":1,"wikis":[]}\n'


def judge(ledger: Ledger, line: Line) -> Score:
    return score(ledger, line, murmur2=murmur2)


@pytest.mark.parametrize("fast", [1, 6])
def test_what_waits_when_other_policies_come_waits_under_the_new_ones(fast: int) -> None:
    later = Policies(
        policies=tuple(Policy(name=n, hold_seconds=h) for n, h in {"live": 0, "fast": fast, "careful": 8}.items()),
        grace_seconds=1,
    )
    found = MemoryLine(told(1), later=later).score()
    assert objections(found) == []
    holds = {fate.steps[-1].decision.hold_ms for fate in found.fates if fate.policy == "fast"}
    assert holds == {3000, fast * 1000}


def test_a_step_that_lags_is_named_and_what_is_missing_is_not_held_against_the_line() -> None:
    ledger, line = MemoryLine(told(1)).run()
    lag = Lag(step=Step.PUBLISH, topic="sluice.decisions.v1", partition=1, records=7, done=3)
    found = judge(ledger, replace(line, edits=dict.fromkeys(line.edits, ()), lags=[lag]))
    assert found.unfinished == ("publish has 7 records of sluice.decisions.v1/1 still to do",)
    assert (found.disagreements, found.perfect) == ((), False)
    assert verdict(found) == "NOT FINISHED: nothing disagrees so far"
    assert as_document(found)["unfinished"] == list(found.unfinished)


def test_ticks_that_change_nothing_may_wait_and_those_that_release_may_not() -> None:
    ledger, line = MemoryLine(told(1)).run()
    last = max(record.offset for record in line.source if record.partition == 0)
    idle = Lag(step=Step.GATE, topic="sluice.source.v1", partition=0, records=0, done=last)
    assert judge(ledger, replace(line, lags=[idle])).perfect
    assert "gate has ticks" in judge(ledger, replace(line, lags=[replace(idle, done=20)])).unfinished[0]


def test_a_log_that_ends_before_its_world_says_how_far_time_is_and_what_the_source_has_not_read() -> None:
    ledger, line = MemoryLine(told(1)).run()
    half = [record for record in line.source if record.offset < 60]
    found = judge(ledger, replace(line, source=half))
    assert [each.check for each in found.disagreements if each.check is not Check.GHOSTS] == []
    said = " ".join(found.unfinished)
    assert "the source has not read" in said
    assert "verdicts are not due: time in the log is at 2026-01-05T12:00:0" in said


def test_more_than_ten_disagreements_are_counted_and_the_first_ten_told() -> None:
    ledger, line = MemoryLine(told(1)).run()
    found = judge(ledger, replace(line, decisions=()))
    text = list(tell(ledger, found))
    assert sum(each.startswith(("1. ", "10. ", "11. ")) for each in text) == 2
    assert text[-1] == f"and {len(found.disagreements) - 10} more"
    assert verdict(found).startswith("FAILS: ")


def test_a_last_line_that_is_being_written_is_passed_over_and_any_other_is_refused_by_its_number() -> None:
    assert read_ledger([WORLD, b'{"kind":"off']).offered == ()
    with pytest.raises(InvalidLedger, match="line 2"):
        read_ledger([WORLD, b'{"kind":"off\n'])
    with pytest.raises(InvalidLedger, match="empty"):
        read_ledger([])
    with pytest.raises(InvalidLedger, match="version 1"):
        read_ledger([WORLD.replace(b'"version":1', b'"version":2')])


def test_only_the_wikis_that_the_line_keeps_are_asked_for() -> None:
    settings = SETTINGS.with_(wikis=("enwiki",))
    ledger, line = MemoryLine(told(1), settings).run()
    only = replace(ledger, wikis=frozenset({"enwiki"}))
    assert judge(only, line).perfect
    assert not judge(ledger, line).perfect
