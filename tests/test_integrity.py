"""The eight promises about the window, each by its name. Where real histories are needed, on real histories."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from conftest import shared_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gate import EPOCH, Line, sha
from verdicts import edits_of, verdict

from processors import curve, whatif
from processors.prove import derive
from processors.shard import Shard, rebuilt
from schemas.decision import Decision, encode_decision
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.learned import Choice, Learned, Stratum
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Policies,
    Policy,
    Tick,
    encode_learned,
    encode_policies,
    encode_tick,
)
from schemas.page import encode_page, page_key
from schemas.policy_file import read_policy_file
from schemas.reasons import Bar, State
from streams.histories import read_history

STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE)
PRESETS = Path(__file__).parents[1] / "deploy" / "policies"
SHORT = Policies(policies=tuple(Policy(name=f"w{hold}", hold_seconds=hold) for hold in (0, 60, 600)))
FULL = Policies(
    policies=(
        Policy(name="live"),
        read_policy_file('name = "full"\n[[rule]]\nhold = 60\nmax_hold = 900\nrestore = "instant"\nwar = {n = 3}\n'),
        read_policy_file(
            'name = "seen"\n[[rule]]\nhold = 30\nrequire = "other_editor"\nwait = 300\nelse = "release"\n'
        ),
        read_policy_file('name = "sure"\n[[rule]]\nprotect = 0.98\nuntil_learned = 90\nmax_hold = 900\n'),
    )
)


DAY = 'name = "day"\n[[rule]]\nhold = "24h"\nrestore = "instant"\n'


# A log of one or several pages, made from small choices. Times in seconds after EPOCH, in order.


def edit(page: int, rev: int, at: int, text: str, user: str, event_id: str) -> bytes:
    dt = rfc3339(EPOCH + at * 1000)
    return json.dumps(
        {
            "meta": {"id": event_id, "stream": PAGE_CHANGE, "domain": "en.wikipedia.org", "dt": dt},
            "page_change_kind": "edit",
            "dt": dt,
            "wiki_id": "enwiki",
            "page": {"page_id": page, "page_title": f"P{page}", "namespace_id": 0},
            "revision": {"rev_id": rev, "rev_dt": dt, "rev_sha1": sha(text), "editor": {"user_text": user},
                         **{f"is_{part}_visible": True for part in ("content", "editor", "comment")}},
        }
    ).encode()  # fmt: skip


def delete(page: int, rev: int, at: int, event_id: str) -> bytes:
    doc = json.loads(edit(page, rev, at, "gone", "Admin", event_id))
    return json.dumps(doc | {"page_change_kind": "delete", "performer": {"user_text": "Admin"}}).encode()


def about(stream: str, page: int, rev: int, at: int, event_id: str) -> bytes:
    shown = {"text": True, "user": True, "comment": True}
    more: dict[str, object] = {"tags": ["mw-reverted"], "prior_state": {"tags": []}}
    if stream == VISIBILITY_CHANGE:
        more = {"visibility": shown | {"text": False}, "prior_state": {"visibility": shown}}
    meta = {"id": event_id, "stream": stream, "domain": "en.wikipedia.org", "dt": rfc3339(EPOCH + at * 1000)}
    return json.dumps({"meta": meta, "database": "enwiki", "page_id": page, "rev_id": rev, **more}).encode()


def tick(number: int, at: int) -> bytes:
    return encode_tick(Tick(number=number, heard_ms=dict.fromkeys(STREAMS, EPOCH + at * 1000), cursor=()))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["edit"] * 6 + ["tag", "hide", "delete", "tick", "tick"]),
        st.integers(1, 3),  # page
        st.integers(0, 5),  # text, or how many revisions back the signal is about
        st.integers(0, 2),  # user
        st.integers(0, 90),  # seconds since the last one
    ),
    max_size=45,
)


def log_of(actions: list[tuple[str, int, int, int, int]]) -> list[tuple[bytes, bytes, int]]:
    """(kind, value, page; 0 = a tick)."""
    made, at, revs = [], 0, defaultdict(list)
    for n, (kind, page, choice, user, later) in enumerate(actions, start=1):
        at += later
        if kind == "edit":
            revs[page].append(n)
            made.append((KIND_EVENT, edit(page, n, at, f"t{choice}", f"u{user}", f"e{n}"), page))
        elif kind == "tick":
            made.append((KIND_TICK, tick(n, at - 20), 0))
        elif revs[page]:
            about_rev = revs[page][max(0, len(revs[page]) - 1 - choice)]
            if kind == "delete":
                made.append((KIND_EVENT, delete(page, about_rev, at, f"e{n}"), page))
            else:
                stream = TAGS_CHANGE if kind == "tag" else VISIBILITY_CHANGE
                made.append((KIND_EVENT, about(stream, page, about_rev, at, f"e{n}"), page))
    return made


def shard_of(rules: Policies) -> Shard:
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(rules))
    return shard


def run(shard: Shard, log: list[tuple[bytes, bytes, int]]) -> list[Decision]:
    return [d for kind, value, _ in log for group in shard.apply(kind, value) for d in group.decisions]


def by_page(decisions: list[Decision]) -> dict[int, list[bytes]]:
    made: dict[int, list[bytes]] = defaultdict(list)
    for decision in decisions:
        made[decision.page_id].append(encode_decision(decision))
    return made


def quiescent(actions: list[tuple[str, int, int, int, int]]) -> list[tuple[bytes, bytes, int]]:
    """The log, and after it enough time for everything."""
    return [*log_of(actions), (KIND_TICK, tick(10**6, 10**6), 0)]


def check_view(actions: list[tuple[str, int, int, int, int]]) -> None:
    log = quiescent(actions)
    decisions = run(shard_of(SHORT), log)
    ends = {(d.policy, d.page_id, d.rev_id): d.state.value for d in decisions}
    edits, ticks = edits_of([(kind, value) for kind, value, _ in log])
    for policy in SHORT.policies:
        expected = {(policy.name, e.page, e.rev): verdict(e, ticks, policy.hold_ms, 60_000) for e in edits}
        assert {key: state for key, state in ends.items() if key[0] == policy.name} == expected


def check_replay(actions: list[tuple[str, int, int, int, int]], chooser) -> None:
    log = quiescent(actions)
    # A table of learned holds comes in the middle, for what is observed after it.
    known = Learned(at_ms=0, rows={(Stratum("enwiki"), 0.98): Choice(150_000, Stratum("enwiki"), 300)})
    log.insert(len(log) // 2, (KIND_CONTROL, encode_learned(known), 0))
    expected = by_page(run(shard_of(FULL), log))
    # Pages change places between two ticks, each event may come twice, the worker dies at any point.
    spans: list[list[tuple[bytes, bytes, int]]] = [[]]
    for entry in log:
        spans[-1].append(entry)
        if entry[2] == 0:
            spans.append([])
    shard, made, state = shard_of(FULL), [], {}
    for span in spans:
        ticks = [entry for entry in span if entry[2] == 0]
        events = [entry for entry in span if entry[2]]
        events.sort(key=lambda entry: -entry[2])
        doubled = [entry for entry in events for _ in range(chooser.randint(1, 2))]
        made += run(shard, doubled + ticks)
        state |= {page_key(*key): None if row is None else row.value for key, row in shard.changed().items()}
        state |= shard.beside
        shard.flush(shard.changed())
        if chooser.random() < 0.3:
            shard = rebuilt([(key, value) for key, value in state.items() if value is not None])
    assert by_page(made) == expected
    workers = [run(shard_of(FULL), [e for e in log if e[2] in (0, page)]) for page in (1, 2, 3)]
    assert by_page([d for each in workers for d in each]) == expected


def check_taint(actions: list[tuple[str, int, int, int, int]]) -> None:
    """No release on top of an edit that is barred, unless what barred it lies between, or the text is an older one."""
    log = quiescent(actions)
    decisions = run(shard_of(FULL), log)
    texts = {d["revision"]["rev_id"]: (d["page"]["page_id"], d["revision"]["rev_sha1"])
             for kind, value, _ in log if kind == KIND_EVENT
             for d in [json.loads(value)] if d.get("page_change_kind") == "edit"}  # fmt: skip
    tags = [(d["rev_id"], d["meta"]["dt"]) for kind, value, _ in log if kind == KIND_EVENT
            for d in [json.loads(value)] if d.get("tags")]  # fmt: skip
    mine = [d for d in decisions if d.policy == "full"]
    assert_clean(mine, texts, tags)


def assert_clean(
    decisions: list[Decision], texts: dict[int, tuple[int, str]], tags: Sequence[tuple[int, str]] = ()
) -> None:
    starts = {d.rev_id: rfc3339(d.start_ms) for d in decisions}
    barred: dict[int, Decision] = {}
    released: set[int] = set()
    reverted = {d.rev_id for d in decisions if d.reason is Bar.REVERTED or d.state is State.SUPERSEDED}
    for d in decisions:
        if d.state is State.RELEASED:
            page, text = texts[d.rev_id]
            before = sorted((r for r in texts if texts[r][0] == page and r < d.rev_id), reverse=True)
            path = {d.rev_id}
            for rev in before:
                if texts[rev][1] == text or rev in released:
                    break
                bar = barred.get(rev)
                if bar is not None and bar.decided_for_ms >= d.decided_for_ms:
                    break  # it was out when this one was released
                if bar is not None:
                    named = {s.by_rev_id for s in bar.signals if s.by_rev_id}
                    tagged = [at for about, at in tags if about == rev]
                    named |= {p for p in path for at in tagged if starts[p] <= at and texts[p][1] != texts[rev][1]}
                    resolved = named & (path | reverted)
                    # A text that another one on the way brought back ends the line, too.
                    back = any(texts[p][1] == texts[r][1] for p in path for r in before if r < rev)
                    assert resolved or back, (d, bar)
                path.add(rev)
            released.add(d.rev_id)
        elif d.state is State.WITHHELD and d.reason in {Bar.REVERTED, Bar.SUPPRESSED}:
            barred[d.rev_id] = d
        elif d.state is State.RETRACTED:
            released.discard(d.rev_id)
            if d.reason is not Bar.PAGE_DELETED:
                barred[d.rev_id] = d


def check_proof(actions: list[tuple[str, int, int, int, int]]) -> None:
    for rules in (SHORT, FULL):
        for decision in run(shard_of(rules), quiescent(actions)):
            assert derive(decision, rules) == (decision.state, decision.reason, decision.decided_for_ms), decision


QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=10_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CHECKS = pytest.mark.parametrize("check", [check_view, check_taint, check_proof])


@CHECKS
def test_random_histories_view_taint_and_proof(check):
    QUICK(given(ACTIONS)(check))()


@pytest.mark.soak
@CHECKS
def test_ten_thousand_random_histories_view_taint_and_proof(check):
    LONG(given(ACTIONS)(check))()


def test_live_is_replay_whatever_the_order_of_pages_the_repeats_the_restarts_and_the_workers():
    QUICK(given(ACTIONS, st.randoms(use_true_random=False))(check_replay))()


@pytest.mark.soak
def test_live_is_replay_in_ten_thousand_random_histories():
    LONG(given(ACTIONS, st.randoms(use_true_random=False))(check_replay))()


# 1 and 2: real histories, known to their end.


@cache
def wikidata() -> dict[str, list[curve.Revision]]:
    return curve.pages(read_history(shared_data() / "histories" / "wikidata_sha1.csv.gz"))


def test_the_ledger_equals_a_recomputation_from_the_raw_histories():
    rules = Policies(policies=tuple(Policy(name=f"w{hold}", hold_seconds=hold) for hold in (300, 3600, 86_400)))
    found: list[Decision] = []
    truth: dict[whatif.EditKey, curve.Edit] = {}
    for page_id, history in enumerate(wikidata().values(), start=1):
        found += whatif.over_history(history, page_id, rules)
        truth |= {("history", page_id, e.revision.rev_id, 0): e for e in curve.judged(history)}
    for policy, outcome in zip(rules.policies, whatif.outcomes(found, rules, truth), strict=True):
        delay_s = policy.hold_seconds + 60
        # From the rows: what is not reverted within hold and grace goes out; what another reverts later is taken back.
        after = {key: e.seconds_to_revert for key, e in truth.items()}
        out = {key for key, s in after.items() if s is None or s >= delay_s}
        superseded = {key for key, d in outcome.ends.items() if d.state is State.SUPERSEDED and not d.signals}
        assert set(outcome.out) == out - superseded
        assert outcome.bad_out == sum(truth[key].bad for key in out - superseded)
        assert set(outcome.delays_s.values()) == {delay_s}
        lags = Counter(round(s - delay_s) for key in out - superseded if (s := others(truth[key])) is not None
                       and s - delay_s <= 30 * 86_400)  # fmt: skip
        assert not lags - Counter(round(lag) for lag in outcome.lags_s)


def others(edit: curve.Edit) -> float | None:
    """Seconds until the first revert, if the edit turned out bad by it."""
    return edit.seconds_to_revert if edit.bad else None


def test_taint_through_partial_repair_on_real_histories_and_few_good_edits_wait_for_it():
    rules = Policies(policies=(read_policy_file('name = "day"\n[[rule]]\nhold = "1h"\nrestore = "instant"\n'),))
    waited = released = 0
    for page_id, history in enumerate(wikidata().values(), start=1):
        history = history[:1200]
        bad = {e.revision.rev_id for e in curve.judged(history) if e.bad}
        made = list(whatif.over_history(history, page_id, rules))
        assert_clean(made, {r.rev_id: (page_id, r.sha1 or str(r.rev_id)) for r in history})
        good = [d for d in made if d.state is State.RELEASED and d.rev_id not in bad]
        released += len(good)
        waited += sum(any(s.kind == "taint" for s in d.signals) for d in good)
        waited += sum(d.reason is Bar.TAINTED and d.rev_id not in bad for d in made)
    assert released > 3000
    assert waited < released / 100


# 6


@pytest.mark.parametrize("deaf", ["tags", "visibility"])
def test_no_release_in_a_span_in_which_a_stream_could_not_be_heard_and_all_after_it_once(deaf):
    line = Line(("fast", 300), ("standard", 3600))
    for n in range(1, 40):
        line.edit(n, at=n * 100, page=n)
        made = line.tick(n * 100, **({deaf: 1000} if 1000 < n * 100 <= 9000 else {}))
        assert all(d.fire_ms <= EPOCH + (min(n * 100, 1000)) * 1000 for d in line.decisions), made
    line.tick(20_000)
    assert Counter((d.policy, d.state.value) for d in line.decisions) == {
        ("fast", "released"): 39,
        ("standard", "released"): 39,
    }


def test_a_wiki_that_cannot_patrol_never_waits_for_patrol():
    policy = read_policy_file('name = "seen"\n[[rule]]\nhold = 60\nrequire = "patrolled"\nwait = "2d"\n')
    line = Line()
    line._apply(KIND_CONTROL, encode_policies(Policies(policies=(policy,))))
    line.edit(1, at=0)  # enwiki
    assert line.tick(120) == [(1, "seen", "released")]


# 7


def test_what_if_equals_a_real_replay_under_that_policy():
    actions = [("edit", page, n % 4, n % 3, 20) for n in range(60) for page in (1, 2)] + [("tick", 1, 0, 0, 900)]
    log = log_of(actions)
    records = [(0, kind, value) for kind, value, _ in log]
    real = [encode_decision(d) for d in run(shard_of(FULL), log)]
    # A log of another policy: its own control record is left out.
    mixed = [(0, KIND_CONTROL, encode_policies(SHORT)), *records]
    assert [encode_decision(d) for d in whatif.over_log(mixed, FULL)] == real
    assert len(real) > 100


# 8


def test_restoring_edits_have_no_delay_on_real_histories():
    rules = Policies(policies=(read_policy_file(DAY),))
    restoring = 0
    for page_id, history in enumerate(wikidata().values(), start=1):
        texts = {r.rev_id: r.sha1 for r in history[:1500]}
        head, head_out = 0, 0
        for d in whatif.over_history(history[:1500], page_id, rules):
            if d.state is State.RELEASED:
                known = head_out > d.start_ms - 30 * 86_400_000  # what is older than the horizon is forgotten
                if head and known and texts[head] == texts[d.rev_id] != "" and head < d.rev_id:
                    assert d.decided_for_ms == d.start_ms or d.start_ms < head_out
                    restoring += d.decided_for_ms == d.start_ms
                head, head_out = d.rev_id, d.decided_for_ms
            elif d.state is State.RETRACTED and d.rev_id == head:
                head = 0
    assert restoring > 20


def test_the_archive_preset_keeps_back_99_9_percent_of_the_bad_edits_and_states_its_delay():
    path = shared_data() / "histories" / "enwiki_sha1.csv.gz"
    history = max(curve.pages(read_history(path)).values(), key=len)
    last = history[-len(history) * 3 // 10 :]
    rules = Policies(policies=(read_policy_file((PRESETS / "archive.toml").read_text()),))
    truth = {("history", 1, e.revision.rev_id, 0): e for e in curve.judged(last)}
    (outcome,) = whatif.outcomes(whatif.over_history(last, 1, rules), rules, truth)
    assert outcome.known_bad > 1000
    assert (outcome.protection or 0) >= 0.999
    assert whatif.table([outcome]).splitlines()[1].endswith("7 d      7 d")


def test_fifty_policies_cost_less_than_twice_the_memory_of_one():
    def bytes_of(count: int) -> int:
        named = tuple(Policy(name=f"p{n}", hold_seconds=60 * (n % 5 + 1)) for n in range(count))
        shard = shard_of(Policies(policies=named))
        run(shard, log_of([("edit", page, page % 6, 0, 1) for page in range(1, 400)]))
        edits = [edit for page in shard.hot.values() for edit in page.edits]
        parts = [part for edit in edits for part in (edit, edit.event_id, edit.sha1)]
        parts += {id(edit.states): edit.states for edit in edits}.values()
        return sum(map(sys.getsizeof, parts)) + sum(len(encode_page(page)) for page in shard.hot.values())

    assert bytes_of(50) < 2 * bytes_of(1)
