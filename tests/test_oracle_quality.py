"""The numbers of a window, from what the edits really were."""

from __future__ import annotations

import io

import pytest
from memory_line import MemoryLine, told

from processors.oracle_ledger import Ledger, read_ledger
from processors.oracle_quality import quality
from schemas.decision import Decision
from schemas.reasons import Bar, State
from streams.ledger import dump_line as dumps

WORLD = {"kind": "world", "version": 1, "random_state": 1, "rate": 1.0, "begin_ms": 0, "wikis": ["w"]}


def did(at_ms: int, rev_id: int, what: str, undoes: tuple[int, ...] = ()) -> dict[str, object]:
    return {
        "kind": "did", "at_ms": at_ms, "wiki": "w", "page_id": 1, "title": "T", "rev_id": rev_id, "what": what,
        "how": None, "undoes": list(undoes), "user": "u",
    }  # fmt: skip


def ledger(*lines: dict[str, object], end_ms: int = 1000) -> Ledger:
    last = {"kind": "offered", "at_ms": end_ms, "topic": "t", "offset": 0, "bytes_base64": ""}
    return read_ledger([dumps(line) for line in (WORLD, *lines, last)])


def decision(rev_id: int, state: State, *, start_ms: int, fire_ms: int, at_ms: int) -> Decision:
    return Decision(
        policy="p", wiki="w", page_id=1, rev_id=rev_id, epoch=0, state=state,
        reason=Bar.REVERTED if state in {State.WITHHELD, State.RETRACTED} else None, event_id=f"e{rev_id}",
        start_ms=start_ms, hold_ms=fire_ms - start_ms, fire_ms=fire_ms, decided_for_ms=at_ms,
    )  # fmt: skip


def test_a_bad_edit_that_waits_longer_than_it_lives_is_protected_against_and_one_that_does_not_is_a_leak():
    #  1 good 0 ── out 100     2 bad 10 ── undone 60     3 bad 200 ── out 300 ── undone 350 by 4
    truth = ledger(
        did(0, 1, "good"), did(10, 2, "vandalism"), did(60, 5, "undo", (2,)), did(200, 3, "vandalism"),
        did(350, 4, "undo", (3,)),
    )  # fmt: skip
    (found,) = quality(
        truth,
        [
            decision(1, State.RELEASED, start_ms=0, fire_ms=100, at_ms=100),
            decision(2, State.WITHHELD, start_ms=10, fire_ms=110, at_ms=60),
            decision(3, State.RELEASED, start_ms=200, fire_ms=300, at_ms=300),
            decision(3, State.RETRACTED, start_ms=200, fire_ms=300, at_ms=350),
            decision(4, State.RELEASED, start_ms=350, fire_ms=450, at_ms=450),
        ],
    )
    assert (found.bad, found.bad_out, found.protection) == (2, 1, 0.5)
    assert found.leak == pytest.approx(1 / 3)
    assert (found.exposure_ms, found.stood_ms) == (50, 50 + 150)
    assert (found.delay_median_ms, found.delay_mean_ms, found.retractions, found.good_lost) == (100, 100, 1, 0)


def test_bad_text_that_nobody_takes_back_is_seen_until_the_repair_goes_out_or_the_world_ends():
    truth = ledger(did(0, 1, "vandalism"), did(100, 2, "repair", (1,)), did(500, 3, "vandalism"), end_ms=1000)
    (found,) = quality(
        truth,
        [
            decision(1, State.RELEASED, start_ms=0, fire_ms=50, at_ms=50),
            decision(2, State.RELEASED, start_ms=100, fire_ms=150, at_ms=150),
            decision(3, State.RELEASED, start_ms=500, fire_ms=550, at_ms=550),
        ],
    )
    assert (found.exposure_ms, found.stood_ms) == (100 + 450, 100 + 500)


def test_where_nothing_is_bad_there_is_nothing_to_protect_from():
    (found,) = quality(ledger(did(0, 1, "good")), [decision(1, State.WITHHELD, start_ms=0, fire_ms=9, at_ms=5)])
    assert (found.protection, found.leak, found.exposure, found.delay_mean_ms, found.good_lost) == (*[None] * 4, 1)


def test_a_longer_window_protects_better_and_takes_less_back_on_a_whole_world():
    line = MemoryLine(told(1))
    score = line.score()
    truth = read_ledger(io.BytesIO(line.told.ledger))
    live, fast, careful = quality(truth, (made.decision for made in score.decided))
    assert (live.protection, fast.protection, careful.protection) == tuple(
        sorted([live.protection, fast.protection, careful.protection])
    )
    assert live.retractions > fast.retractions > careful.retractions
    assert live.exposure > fast.exposure > careful.exposure
    assert (live.delay_mean_ms, fast.delay_mean_ms, careful.delay_mean_ms) == (0, 4000, 9000)
