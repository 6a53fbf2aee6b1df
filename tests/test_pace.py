"""How often may be asked, in virtual time: the budget, the breaker, the budget of retries, and what they cost."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from test_batcher import job as make_job

from processors.answers import Answers, Found
from processors.asking import Asking
from processors.batcher import Batch, Batcher, Job
from processors.pace import Breaker, BreakerState, Budget, RetryBudget
from processors.patience import Patience, endure, hear
from processors.turns import Turns
from schemas.content import Text
from schemas.reasons import Answer
from streams.fetch import most_in_flight
from streams.wiki_names import MAX_WIKIS, SHARES

# Share of the edits whose parent came a moment before: on these two an item or a file is mostly edited several times.
CHAINED = {"wikidatawiki": 0.5, "commonswiki": 0.5}
CHAINED_ELSEWHERE = 0.2
OTHERS = MAX_WIKIS - len(SHARES)
# 18.6 page changes a second; one in twenty, by our guess, has no text to be fetched (moves, deletions).
REVISIONS_PER_SECOND = 17.7
PER_MINUTE = 200.0
TEMPLATE = make_job(1).event


def mix(large: Mapping[str, float]) -> dict[str, float]:
    """Shares of all edits, as those of a simulated world: the rest falls as 1/rank."""
    zipf = [1 / rank for rank in range(1, OTHERS + 1)]
    left = 1 - sum(large.values())
    return dict(large) | {f"w{rank}wiki": left * part / sum(zipf) for rank, part in enumerate(zipf, 1)}


def arrivals(
    seconds: float, *, rate: float, chained: bool = True, large: Mapping[str, float] = SHARES
) -> Iterator[tuple[float, Job]]:
    """Edits by chance. chained: False if no parent was ever seen before. large: share of each large wiki."""
    chooser = random.Random(11)
    shares = mix(large)
    wikis, weights = list(shares), list(shares.values())
    newest: dict[str, int] = {}
    at, number = 0.0, 10
    while (at := at + chooser.expovariate(rate)) < seconds:
        (wiki,) = chooser.choices(wikis, weights)
        number += 2
        follows = chained and wiki in newest and chooser.random() < CHAINED.get(wiki, CHAINED_ELSEWHERE)
        parent = newest[wiki] if follows else number - 1
        newest[wiki] = number
        meta = replace(TEMPLATE.meta, domain=f"{wiki}.org")
        event = replace(TEMPLATE, meta=meta, wiki=wiki, rev_id=number, parent_id=parent, rev_size=8_000)
        yield at, Job(event=event, origin=number)


@dataclass
class Simulation:
    """Fetch without its world: the same parts, a clock of its own, an API that answers after half a second.

    failing: share of requests that fail at a time. most_in_flight: above it nothing more is read. requests: when each
    was made, and whether it was all repeats.
    """

    linger_seconds: float
    failing: Callable[[float], float] = lambda _: 0.0
    step_seconds: float = 0.25
    most_in_flight: int = 10**9
    requests: list[tuple[float, bool]] = field(default_factory=list)
    answered: dict[int, Answer] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chooser = random.Random(3)
        self.batcher = Batcher(linger_seconds=self.linger_seconds, has=lambda _, rev_id: rev_id in self.held)
        self.asking = Asking(self.batcher, Budget(PER_MINUTE), [Breaker()], Turns(1, 3))
        self.patience = Patience(replica_lag_seconds=120, give_up_seconds=900)
        self.held: set[int] = set()

    def run(self, jobs: Iterator[tuple[float, Job]]) -> None:
        """Until all are answered."""
        under_way: list[tuple[float, int, Batch]] = []
        waiting = 0
        now, coming = 0.0, next(jobs, None)
        while coming is not None or waiting:
            now = min(now + self.step_seconds, max(now + 0.001, self.asking.due_at(now)))
            while coming is not None and coming[0] <= now and waiting < self.most_in_flight:
                waiting += 1
                self.batcher.add(coming[1], now)
                coming = next(jobs, None)
            while under_way and under_way[0][0] <= now:
                waiting -= self._hear(heapq.heappop(under_way)[2], now)
            while (batch := self.asking.take(now)) is not None:
                for job in batch.jobs:
                    if job.wants_parent and job.event.parent_id in self.held:
                        job.parent = Text(rev_id=job.event.parent_id, answer=Answer.HIDDEN)
                self.requests.append((now, all(job.retry for job in batch.jobs)))
                heapq.heappush(under_way, (now + 0.5, len(self.requests), batch))

    def _hear(self, batch: Batch, now: float) -> int:
        fails = self.chooser.random() < self.failing(now)
        if fails:
            self.asking.failed(batch, now, jitter=self.chooser.random(), retry_after_seconds=None)
        else:
            self.asking.succeeded(batch, now)
        found = {rev_id: text(rev_id) for rev_id in batch.ids}
        done = 0
        for job in batch.jobs:
            if fails:
                away = self.asking.away
                wait = endure(job, "HTTP 503", may_be_cause=True, away=away, now=now, patience=self.patience)
            else:
                answers = Answers(found=found, missing=frozenset())
                wait = hear(job, answers, now=now, age_seconds=1e6, patience=self.patience)
            if wait is None:
                done += 1
                assert job.revision is not None
                assert job.origin not in self.answered
                self.answered[job.origin] = job.revision.answer
                self.answered_at.append(now)
                self.held.add(job.event.rev_id)
            elif wait > 0:
                self.batcher.park(job, now + wait)
            else:
                self.batcher.again(job)
        return done

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.requests]

    @property
    def repeats(self) -> int:
        return sum(repeat for _, repeat in self.requests)


def text(rev_id: int) -> Found:
    return Found(rev_id=rev_id, hidden=True, text=None, sha1=None, size_bytes=0, model=None, roles=("main",), tags=())


def most_in_a_minute(times: Sequence[float]) -> int:
    return max(bisect_left(times, at + 60.0) - number for number, at in enumerate(times))


# What a revision costs


@pytest.mark.parametrize(
    ("linger_seconds", "chained", "most"), [(60.0, True, 0.12), (60.0, False, 0.125), (600.0, True, 0.05)]
)
def test_at_live_rate_300_wikis_cost_few_requests_for_each_revision_and_never_more_than_the_budget(
    linger_seconds: float, chained: bool, most: float
) -> None:
    simulation = Simulation(linger_seconds, step_seconds=1.0)
    # In the steady state: not while the first of each wiki linger, nor when no more come.
    begin = linger_seconds + 60.0
    end = begin + max(360.0, linger_seconds)
    simulation.run(arrivals(end, rate=REVISIONS_PER_SECOND, chained=chained))
    cost = sum(begin <= at < end for at in simulation.times) / sum(begin <= at < end for at in simulation.answered_at)
    print(f"linger {linger_seconds:g} s, {chained=}: {cost:.4f} requests per revision")
    assert cost <= most
    assert most_in_a_minute(simulation.times) <= PER_MINUTE
    assert set(simulation.answered.values()) == {Answer.HIDDEN}


def test_a_linger_that_is_too_short_for_the_budget_makes_larger_batches_and_not_more_requests() -> None:
    simulation = Simulation(1.0)
    simulation.run(arrivals(300.0, rate=REVISIONS_PER_SECOND))
    assert 150 < most_in_a_minute(simulation.times) <= PER_MINUTE
    assert len(simulation.answered) > 4_500


def test_edits_of_quiet_wikis_that_linger_for_long_do_not_keep_others_from_being_read() -> None:
    # A backlog of small wikis alone, which hardly ever fill a request.
    simulation = Simulation(600.0, step_seconds=10.0, most_in_flight=most_in_flight(600.0))
    simulation.run(arrivals(150.0, rate=50.0, large={}))
    # One linger and what the budget asks for; with 2,000 under way at most it was two.
    assert simulation.answered_at[-1] < 1_000


# Faults


def test_errors_of_a_third_for_five_minutes_lose_nothing_and_add_less_than_a_tenth() -> None:
    simulation = Simulation(20.0, failing=lambda now: 0.3 if 300 < now < 600 else 0.0)
    simulation.run(arrivals(900.0, rate=6.0))
    assert set(simulation.answered.values()) == {Answer.HIDDEN}
    assert len(simulation.answered) > 5_000
    assert 10 < simulation.repeats <= 0.1 * len(simulation.requests)
    assert most_in_a_minute(simulation.times) <= PER_MINUTE


def test_an_outage_of_two_minutes_loses_nothing_and_costs_a_handful_of_requests() -> None:
    simulation = Simulation(20.0, failing=lambda now: 1.0 if 200 < now < 320 else 0.0)
    simulation.run(arrivals(600.0, rate=6.0))
    assert set(simulation.answered.values()) == {Answer.HIDDEN}
    assert len(simulation.answered) > 3_300
    assert sum(205 < at < 320 for at in simulation.times) < 25
    assert most_in_a_minute(simulation.times) <= PER_MINUTE
    # Not only survived: caught up.
    assert sum(at > 320 for at in simulation.times) > 200


def test_no_revision_is_given_up_on_while_no_source_answers_nor_at_the_first_failure_after() -> None:
    # An hour, four times as long as patience; then a third of the requests fails for a while.
    failing = {True: 1.0, False: 0.3}
    simulation = Simulation(20.0, failing=lambda now: failing[now < 3_700] if 100 < now < 4_000 else 0.0)
    simulation.run(arrivals(600.0, rate=2.0))
    assert set(simulation.answered.values()) == {Answer.HIDDEN}
    assert len(simulation.answered) > 1_000


# The parts


def spent(budget: Budget, seconds: float) -> list[float]:
    now, times = 0.0, []
    while (now := budget.at(now)) < seconds:
        times.append(now)
        budget.spend(now)
    return times


def test_requests_are_spaced_by_this_workers_share_of_the_budget() -> None:
    budget = Budget(200.0)
    assert 195 < len(spent(budget, 60.0)) <= 200
    quarter = Budget(200.0)
    quarter.share = 0.25
    assert 47 < len(spent(quarter, 60.0)) <= 50
    none = Budget(200.0)
    none.share = 0.0
    assert len(spent(none, 60.0)) == 1


def test_a_rest_saves_no_requests_up() -> None:
    budget = Budget(60.0)
    budget.spend(0.0)
    budget.spend(1000.0)
    assert budget.at(1000.0) > 1001.0


def fails(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.heard(ok=False, now=0.0, trial=breaker.ask())


def test_a_source_that_fails_is_left_alone_then_tried_by_one_request_and_left_alone_for_longer() -> None:
    breaker = Breaker()
    fails(breaker, 9)
    assert breaker.at(0.0) == 0.0
    fails(breaker, 1)
    assert (breaker.state, breaker.at(0.0)) == (BreakerState.OPEN, 5.0)
    assert breaker.ask()
    assert (breaker.state, breaker.at(5.0)) == (BreakerState.HALF_OPEN, float("inf"))
    breaker.heard(ok=False, now=6.0, trial=True)
    assert (breaker.state, breaker.at(6.0)) == (BreakerState.OPEN, 16.0)
    assert breaker.ask()
    breaker.heard(ok=True, now=17.0, trial=True)
    assert (breaker.state, breaker.at(17.0)) == (BreakerState.CLOSED, 17.0)


def test_a_third_of_errors_does_not_open_the_breaker() -> None:
    breaker, chooser = Breaker(), random.Random(1)
    for _ in range(1000):
        breaker.heard(ok=chooser.random() > 0.3, now=0.0, trial=breaker.ask())
    assert breaker.state is BreakerState.CLOSED


def test_answers_from_before_the_breaker_opened_neither_close_it_nor_count_for_the_one_that_tries() -> None:
    breaker = Breaker()
    assert not breaker.ask()
    fails(breaker, 10)
    breaker.heard(ok=True, now=1.0, trial=False)
    assert (breaker.state, breaker.at(1.0)) == (BreakerState.OPEN, 5.0)
    assert breaker.ask()
    breaker.heard(ok=True, now=6.0, trial=False)
    assert (breaker.state, breaker.at(6.0)) == (BreakerState.HALF_OPEN, float("inf"))


def test_the_second_source_is_asked_while_the_first_is_left_alone_and_no_longer() -> None:
    batcher = Batcher(linger_seconds=0.0)
    asking = Asking(batcher, Budget(1e9), [Breaker(), Breaker()], Turns(1, 3))
    sources = []
    for number in range(1, 30):
        now = float(number)
        batcher.add(make_job(number, wiki=f"w{number}wiki"), now)
        batch = asking.take(now)
        assert batch is not None
        sources.append(batch.source)
        if batch.source == 0 and number < 20:
            asking.failed(batch, now, jitter=0.0, retry_after_seconds=None)
        else:
            asking.succeeded(batch, now)
    # Ten failures, five seconds, one more, ten seconds, and the first is back.
    assert sources == [0] * 10 + [1] * 4 + [0] + [1] * 9 + [0] * 5


def test_no_more_is_under_way_than_there_are_connections() -> None:
    batcher = Batcher(linger_seconds=0.0)
    asking = Asking(batcher, Budget(1e9), [Breaker()], Turns(1, 3))
    for number in range(1, 6):
        batcher.add(make_job(number, wiki=f"w{number}wiki"), 0.0)
    taken = [asking.take(float(second)) for second in range(1, 6)]
    assert [batch is not None for batch in taken] == [True, True, True, False, False]
    assert taken[0] is not None
    asking.succeeded(taken[0], 6.0)
    assert asking.take(6.0) is not None


def test_what_only_repeats_waits_for_the_budget_of_repeats_and_goes_along_with_what_is_new() -> None:
    retries = RetryBudget()
    while retries.at(0.0) == 0.0:
        retries.spend(0.0)
    assert retries.at(0.0) == 30.0
    for _ in range(21):
        retries.earn()
    assert retries.at(0.0) == 0.0
    batcher = Batcher(linger_seconds=0.0)
    batcher._retries = RetryBudget()
    while batcher._retries.at(0.0) == 0.0:
        batcher._retries.spend(0.0)
    again = make_job(1)
    again.retry = True
    batcher.add(again, 0.0)
    assert batcher.due_at(0.0) == 30.0
    batcher.add(make_job(2), 1.0)
    batch = batcher.take(1.0)
    assert batch is not None
    assert set(batch.ids) == {1, 2}


def test_wikis_that_are_served_live_have_a_linger_of_their_own() -> None:
    batcher = Batcher(linger_seconds=60.0, lingers={"enwiki": 1.0})
    batcher.add(make_job(1, wiki="enwiki"), 0.0)
    batcher.add(make_job(2, wiki="dewiki"), 0.0)
    assert batcher.due_at(0.0) == 1.0
    first = batcher.take(1.0)
    assert first is not None
    assert first.site[0] == "enwiki"
    assert batcher.due_at(1.0) == 60.0
