"""Which revisions go into the next request, and when."""

from __future__ import annotations

import api_server
from hypothesis import given
from hypothesis import strategies as st

from processors.batcher import ALONE, MAX_IDS, Batch, Batcher, Job
from schemas.event import PageChange, decode_event


def job(rev_id: int, *, parent_id: int = 0, wiki: str = "enwiki", size: int = 100, level: int = 0) -> Job:
    change = decode_event(
        api_server.event(rev_id, "x", at_ms=1_000, parent_id=parent_id, wiki=wiki, domain=f"{wiki}.org", size=size)
    )
    assert isinstance(change, PageChange)
    return Job(event=change, origin=rev_id, level=level)


def batcher(*jobs: Job, at: float = 0.0, linger: float = 2.0) -> Batcher:
    made = Batcher(linger_seconds=linger)
    for each in jobs:
        made.add(each, at)
    return made


def taken(made: Batcher, now: float) -> Batch:
    batch = made.take(now)
    assert batch is not None
    return batch


def ids(made: Batcher, now: float) -> tuple[int, ...]:
    return taken(made, now).ids


def test_a_wikis_revisions_are_gathered_until_the_first_has_lingered() -> None:
    made = batcher(job(1))
    made.add(job(2), 1.5)
    assert made.due_at(1.5) == 2.0
    assert made.take(1.9) is None
    assert ids(made, 2.0) == (1, 2)
    assert made.due_at(2.0) == float("inf")


def test_fifty_ids_go_at_once_and_the_rest_waits_for_its_own_linger() -> None:
    made = batcher(*(job(n) for n in range(1, 60)))
    assert made.due_at(0.0) == 0.0
    assert ids(made, 0.0) == tuple(range(1, 51))
    assert made.take(1.9) is None
    assert ids(made, 2.0) == tuple(range(51, 60))


def test_a_chain_of_edits_asks_for_each_revision_once() -> None:
    made = batcher(*(job(n, parent_id=n - 1) for n in range(2, 60)))
    assert ids(made, 0.0) == (2, 1, *range(3, 51))


def test_a_parent_that_is_at_hand_takes_no_place_in_the_request() -> None:
    at_hand = {("enwiki", n) for n in range(1001, 1041)}
    made = Batcher(linger_seconds=2.0, has=lambda wiki, rev_id: (wiki, rev_id) in at_hand)
    for n in range(1, 61):
        made.add(job(n, parent_id=1000 + n), 0.0)
    assert len(taken(made, 0.0).jobs) == 40 + 10 / 2
    assert made.due_at(0.0) == 2.0


def test_a_revision_and_its_parent_stay_in_one_request() -> None:
    made = batcher(*(job(10 * n, parent_id=10 * n - 1) for n in range(1, 31)))
    batch = taken(made, 0.0)
    assert len(batch.jobs) == 25
    assert len(batch.ids) == MAX_IDS


def test_a_batch_ends_before_its_answer_would_be_cut() -> None:
    made = batcher(*(job(n, size=2_000_000) for n in range(1, 9)))
    assert made.due_at(0.0) == 2.0
    assert ids(made, 2.0) == (1, 2, 3, 4)
    assert ids(made, 2.0) == (5, 6, 7, 8)


def test_wikis_do_not_share_a_request_and_who_has_waited_longest_goes_first() -> None:
    made = batcher(job(1, wiki="dewiki"), at=1.0)
    made.add(job(2, wiki="enwiki"), 0.5)
    assert [taken(made, 5.0).site[0], taken(made, 5.0).site[0]] == ["enwiki", "dewiki"]


def test_what_is_parked_holds_up_nobody_and_then_waits_for_company_again() -> None:
    made = batcher(job(2))
    made.park(job(1), 10.0)
    assert ids(made, 2.0) == (2,)
    assert made.due_at(2.0) == 10.0
    assert made.take(10.0) is None
    made.add(job(3), 11.0)
    assert ids(made, 12.0) == (1, 3)


def test_a_wiki_that_failed_pauses_longer_each_time_and_other_wikis_go_on() -> None:
    made = batcher(job(1))
    pauses = []
    now = 2.0
    for _ in range(9):
        batch = taken(made, now)
        made.failed(batch, now, jitter=1.0, retry_after_seconds=None)
        for each in batch.jobs:
            made.again(each)
        pauses.append(made.due_at(now) - now)
        now = made.due_at(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    made.add(job(2, wiki="dewiki"), now - 10.0)
    assert taken(made, now - 8.0).site[0] == "dewiki"


def test_retry_after_is_honoured_but_not_for_ever() -> None:
    for told, pause in ((7.0, 7.0), (1e9, 300.0), (0.0, 0.5)):
        made = batcher(job(1))
        made.failed(taken(made, 2.0), 2.0, jitter=0.0, retry_after_seconds=told)
        made.again(job(1))
        assert made.due_at(2.0) == 2.0 + pause


def test_after_a_failure_one_request_at_a_time_tries_whether_the_wiki_is_back() -> None:
    made = batcher(*(job(n) for n in range(1, 220)))
    first, second = taken(made, 2.0), taken(made, 2.0)
    made.failed(first, 2.0, jitter=1.0, retry_after_seconds=None)
    made.failed(second, 2.0, jitter=1.0, retry_after_seconds=None)
    trial = taken(made, 10.0)
    assert made.take(10.0) is None
    made.succeeded(trial)
    made.add(job(300), 10.0)
    assert made.take(12.0) is not None


def test_a_revision_that_makes_requests_fail_is_soon_asked_alone_and_the_others_get_through() -> None:
    made = batcher(*(job(n) for n in range(1, 51)))
    answered: set[int] = set()
    now, requests = 2.0, 0
    while len(answered) < 49:
        now = made.due_at(now)
        batch = taken(made, now)
        requests += 1
        if 17 in batch.ids:
            made.failed(batch, now, jitter=1.0, retry_after_seconds=None)
            for each in batch.jobs:
                each.level += 1
                made.again(each)
        else:
            made.succeeded(batch)
            answered |= set(batch.ids)
    assert requests <= 30
    assert now < 60


def test_a_job_asked_alone_is_alone() -> None:
    made = batcher(job(5, parent_id=4, level=ALONE), job(7, level=ALONE))
    assert ids(made, 2.0) == (5, 4)
    assert ids(made, 2.0) == (7,)


def test_what_is_not_ours_any_more_is_dropped_wherever_it_waits() -> None:
    made = batcher(job(1), job(2))
    made.park(job(3), 5.0)
    made.park(job(4), 5.0)
    made.drop(lambda each: each.origin % 2 == 1)
    assert ids(made, 2.0) == (2,)
    made.take(5.0)
    assert ids(made, 7.0) == (4,)


def test_a_wiki_that_has_nothing_to_ask_is_forgotten() -> None:
    made = batcher(*(job(1, wiki=f"w{n}") for n in range(100)))
    while (batch := made.take(2.0)) is not None:
        made.failed(batch, 2.0, jitter=1.0, retry_after_seconds=None)
    assert made.take(4.0) is None
    assert not made._queues


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 3_000_000), st.integers(0, 6))))
def test_every_revision_is_asked_and_no_request_is_above_its_bounds(
    given_jobs: list[tuple[int, int, int, int]],
) -> None:
    jobs = [job(rev_id, parent_id=parent_id, size=size, level=level) for rev_id, parent_id, size, level in given_jobs]
    made = batcher(*jobs)
    seen: list[Job] = []
    while (batch := made.take(2.0)) is not None:
        assert len(batch.ids) <= MAX_IDS
        assert len(batch.jobs) == 1 or sum(each.size_bytes for each in batch.jobs) <= 8_000_000
        assert len({max(each.level, 1) for each in batch.jobs}) == 1
        seen += batch.jobs
        made.succeeded(batch)
    assert sorted(map(id, seen)) == sorted(map(id, jobs))
