"""However many workers there are: three requests at a time and the budget, of all of them together."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from test_batcher import job

from processors.asking import Asking
from processors.batcher import Batch, Batcher
from processors.pace import Breaker, Budget
from processors.turns import TURN_SECONDS, Turns

PARTITIONS = 12
LONGEST_SECONDS = 30.0
PER_MINUTE = 200.0


def split(workers: int, how: str) -> list[frozenset[int]]:
    """The partitions of each worker: every n-th, a range, or by chance."""
    chooser = random.Random(workers)
    owners = {
        "every n-th": [partition % workers for partition in range(PARTITIONS)],
        "range": [partition * workers // PARTITIONS for partition in range(PARTITIONS)],
        "by chance": [chooser.randrange(workers) for _ in range(PARTITIONS)],
    }[how]
    return [frozenset(p for p, owner in enumerate(owners) if owner == worker) for worker in range(workers)]


def made(owned: frozenset[int], ahead_seconds: float = 0.0) -> Turns:
    turns = Turns(PARTITIONS, 3, longest_seconds=LONGEST_SECONDS)
    turns.owned, turns.ahead_seconds = owned, ahead_seconds
    return turns


def together(splits: list[frozenset[int]], slow: float, seconds: int) -> tuple[int, list[float]]:
    """How many requests were under way at most, and when each was made, by workers that always have something to ask.

    slow: share of the requests that take as long as they may. Each worker has a clock of its own, all know the one that
    they share.
    """
    chooser = random.Random(7)
    askers = []
    for number, owned in enumerate(splits):
        batcher = Batcher(linger_seconds=0.0, max_ids=1)
        asking = Asking(batcher, Budget(PER_MINUTE), [Breaker()], made(owned, -1000.0 * number))
        for rev_id in range(1, 4):
            batcher.add(job(rev_id), 1000.0 * number)
        askers.append((asking, 1000.0 * number))
    under_way: list[tuple[float, Asking, Batch]] = []
    times: list[float] = []
    most, at = 0, 0.0
    while at < seconds:
        for ended in [each for each in under_way if each[0] <= at]:
            under_way.remove(ended)
            ended[1].succeeded(ended[2], at)
        for asking, clock in askers:
            while (batch := asking.take(at + clock)) is not None:
                asking.batcher.again(batch.jobs[0])
                times.append(at)
                under_way.append((at + (LONGEST_SECONDS if chooser.random() < slow else 0.3), asking, batch))
        most = max(most, len(under_way))
        due = [asking.due_at(at + clock) - clock for asking, clock in askers]
        at = max(at + 0.001, min(*due, *(end for end, _, _ in under_way), float(seconds)))
    return most, times


@pytest.mark.parametrize("how", ["every n-th", "range", "by chance"])
@pytest.mark.parametrize("workers", [1, 2, 4, 5, 12])
def test_all_workers_together_never_have_more_than_three_requests_under_way(workers: int, how: str) -> None:
    most, times = together(split(workers, how), 0.05, 400)
    assert most == 3
    assert max(bisect_left(times, at + 60.0) - n for n, at in enumerate(times)) <= PER_MINUTE


@pytest.mark.parametrize(("workers", "used"), [(1, 0.9), (3, 0.9), (4, 0.8), (12, 0.45)])
def test_of_the_budget_workers_beyond_the_third_leave_unused_what_their_turns_do_not_last(
    workers: int, used: float
) -> None:
    _, times = together(split(workers, "every n-th"), 0.0, 720)
    assert used * 12 * PER_MINUTE < len(times) <= 12 * PER_MINUTE


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 7, 12])
def test_each_worker_has_its_partitions_share_of_the_turns(workers: int) -> None:
    for owned in split(workers, "every n-th"):
        turns = made(owned)
        shares = [turns.share(turn * TURN_SECONDS + 1.0) for turn in range(PARTITIONS)]
        assert sum(shares) / PARTITIONS == pytest.approx(len(owned) / PARTITIONS)


def test_whoever_owns_all_has_all_places_at_any_time_and_whoever_owns_nothing_none() -> None:
    alone, idle = made(frozenset(range(PARTITIONS))), made(frozenset())
    for second in range(0, 1000, 7):
        assert (alone.places(second), alone.share(second), alone.changes_at(second)) == (3, 1.0, float("inf"))
        assert (idle.places(second), idle.share(second), idle.changes_at(second)) == (0, 0.0, float("inf"))


def test_up_to_three_workers_never_wait_for_a_turn() -> None:
    for workers in (1, 2, 3):
        for owned in split(workers, "every n-th"):
            assert min(made(owned).places(second) for second in range(0, 720, 5)) >= 1


def test_no_request_begins_that_could_outlast_the_turn() -> None:
    #  turn 0: partitions 0, 5, 10     turn 1: 1, 6, 11     one worker with partition 0 alone
    turns = made(frozenset({0}))
    assert [turns.places(second) for second in (0.0, 30.0, 30.1, 59.0, 60.0)] == [1, 1, 0, 0, 0]
    assert [turns.changes_at(second) for second in (0.0, 30.0, 31.0, 61.0)] == [30.0, 60.0, 60.0, 90.0]


def test_a_turn_that_comes_is_spaced_from_its_begin() -> None:
    # Another worker may have asked a moment before.
    asking = Asking(Batcher(linger_seconds=0.0), Budget(PER_MINUTE), [Breaker()], made(frozenset({1})))
    asking.batcher.add(job(1), 0.0)
    assert asking.take(59.0) is None
    assert asking.due_at(60.0) == pytest.approx(60.0 + 60.0 / (PER_MINUTE * 0.99 / 3))


def test_an_abandoned_request_gives_its_place_back_and_does_not_keep_the_breaker_waiting() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.heard(ok=False, now=0.0, trial=breaker.ask())
    asking = Asking(Batcher(linger_seconds=0.0), Budget(1e9), [breaker], Turns(1, 1))
    asking.batcher.add(job(1), 0.0)
    batch = asking.take(10.0)
    assert batch is not None
    assert batch.trial
    asking.abandoned(batch)
    asking.batcher.add(job(2), 11.0)
    assert asking.take(11.0) is not None
