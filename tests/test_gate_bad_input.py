"""What nobody should send to the gate: each case has an answer, and nothing is lost by it. Times as in `test_gate`."""

from __future__ import annotations

import pytest
from histories import FULL, Writer, by_page, objections, policies, policy, run, shard_of
from test_gate import EPOCH, Line, sha
from test_rules import Ruled

from processors import ring, waits
from processors.shard import Unreadable, rebuilt
from schemas.log import KIND_EVENT, Policies, Policy
from schemas.page_record import VERSION
from schemas.reasons import SetAside

YEARS_S = 5 * 365 * 86_400
SHORT = Policies(policies=(Policy(name="live"), Policy(name="fast", hold_seconds=300)))


@pytest.mark.parametrize("skew", [-YEARS_S, YEARS_S])
def test_an_edit_whose_clock_is_years_off_is_held_from_when_it_was_heard(skew):
    line = Ruled("hold = 300")
    line.edit(1, at=skew, meta_at=0)
    assert line.heard(309) == []
    assert line.heard(310) == [(1, "released")]
    assert line.decisions[0].start_ms == EPOCH


@pytest.mark.parametrize("skew", [-YEARS_S, YEARS_S])
def test_an_event_that_is_years_off_altogether_ends_once_and_moves_nobody_elses_time(skew):
    line = Line(("fast", 300))
    line.edit(1, at=skew)
    line.edit(2, at=0, page=8)
    line.tick(360)
    assert (2, "released") in [(d.rev_id, d.state.value) for d in line.decisions]
    line.tick(YEARS_S + 1000)
    # The one from years ago is beyond the horizon when it is read: it is due at once, or forgotten with its page.
    assert sorted(d.rev_id for d in line.decisions if d.state.value == "released") == [1, 2]


def test_a_revert_whose_clock_is_years_ahead_takes_nothing_back_beyond_the_horizon_and_one_behind_bars():
    ahead, behind = Line(("fast", 300)), Line(("fast", 300))
    for line, skew in ((ahead, YEARS_S), (behind, -YEARS_S)):
        line.edit(1, at=0, sha1=sha("good"))
        line.edit(2, at=10, user="Vandal")
        line.edit(3, at=skew, meta_at=20, sha1=sha("good"))
        line.tick(1000)
    assert (behind.decisions[0].rev_id, behind.decisions[0].state.value) == (2, "withheld")
    assert (2, "released") in [(d.rev_id, d.state.value) for d in ahead.decisions]


def crowd(count: int, seconds: float = 60.0) -> Line:
    line = Line(("live", 0), ("fast", 300))
    for n in range(count):
        line.edit(n + 1, at=n * seconds / count, user=f"u{n % 7}")
    line.tick(1000)
    return line


def test_ten_thousand_edits_of_one_page_in_a_minute_are_all_decided_once_and_the_state_keeps_its_bound():
    line = crowd(10_000)
    assert len({(d.policy, d.rev_id) for d in line.decisions}) == len(line.decisions) == 20_000
    assert len(line.shard.hot["enwiki", 7].edits) == waits.MOST_EDITS
    assert len(line.state()[b"enwiki:7"]) < 4_000_000


def long_page(revisions: int) -> None:
    line = Line(("fast", 300), horizon=1000)
    for n in range(revisions):
        line.edit(10**6 + n, at=n * 60)
        if n % 10 == 9:
            line.tick(n * 60)
    line.tick(revisions * 60 + 1000)
    assert len(line.decisions) == revisions
    page = line.shard.hot.get(("enwiki", 7))
    assert page is None or (len(page.ring) == ring.RING and len(page.edits) < 60)


def test_a_page_with_many_revisions_is_one_with_those_of_the_horizon():
    long_page(5000)


@pytest.mark.soak
def test_a_page_with_a_million_revisions_is_one_with_those_of_the_horizon():
    long_page(1_000_000)


def test_a_wiki_that_nobody_knows_is_held_like_any_other_and_waits_for_no_review_that_it_cannot_give():
    line = Ruled('hold = 50\nrequire = "approved"\nwait = "7d"', wiki="xyzwiki")
    line.edit(1, at=0)
    assert line.heard(59) == []
    assert line.heard(60) == [(1, "released")]


def test_ticks_that_go_backwards_take_nothing_back_and_nothing_is_decided_twice():
    writer = Writer()
    for n in range(30):
        writer.wait(40)
        writer.change("edit", 3, n + 1, f"t{n % 4}", f"u{n % 3}")
        writer.tick((0, 300, 20)[n % 3])
    writer.end()
    made = run(shard_of(FULL), writer.log)
    ends = [(d.policy, d.rev_id, d.state) for d in made]
    assert len(ends) == len(set(ends))
    assert objections(writer.log, FULL, made) == []


def test_a_state_record_from_a_newer_version_stops_the_gate_and_stays_where_it_is():
    line = Line(("fast", 300))
    line.edit(1, at=0)
    state = line.state()
    newer = state[b"enwiki:7"].replace(b"[%d," % VERSION, b"[%d," % (VERSION + 1), 1)
    with pytest.raises(ValueError, match=f"version {VERSION + 1}; we read version {VERSION}"):
        rebuilt((state | {b"enwiki:7": newer}).items())
    assert len(rebuilt(state.items())._store.get(("enwiki", 7)) or b"") > 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe", SetAside.NOT_JSON),
        (b'{"meta": {}}', SetAside.MISSING_FIELD),
        (b'{"meta": {"id": "x", "stream": "weather", "domain": "d", "dt": "2026-01-01T00:00:00Z"}}',
         SetAside.UNKNOWN_SCHEMA),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_reason_and_leaves_the_shard_as_it_was(value, reason):
    line = Line(("fast", 300))
    line.edit(1, at=0)
    before = line.state()
    with pytest.raises(Unreadable) as refused:
        line.shard.apply(KIND_EVENT, value)
    assert refused.value.reason is reason
    assert line.state() == before
    assert line.tick(360) == [(1, "fast", "released")]


def test_bad_neighbours_change_nothing_for_other_pages():
    rules = policies(policy("full", "hold = 60\nmax_hold = 900\nwar = {n = 3}"))
    writer = Writer()
    for n in range(40):
        writer.wait(10)
        writer.change("edit", 1, n + 1, f"t{n % 4}", f"u{n % 3}")
        for k in range(20):
            writer.change("edit", 2, 1000 + 20 * n + k, f"t{k}", "u1", ago=(k % 3) * 10**6)
        writer.tick(20)
    writer.end()
    together = by_page(run(shard_of(rules), writer.log))
    assert len(together) == 2
    alone = by_page(run(shard_of(rules), [e for e in writer.log if e.page in (0, 1)]))
    assert together[1] == alone[1]
