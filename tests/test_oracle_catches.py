"""Bugs planted in source, gate, publish and the steps between: the oracle names each, with the words that lead to it.

The steps' own code runs over a made-up world in memory; each test breaks one thing in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import histories
import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from memory_line import MemoryLine, murmur2, objections, told

from processors import arrive, cursor, deliver, fire, gate, heard, neighbours, plans, project, release, route, waits
from processors import tell as telling
from processors.oracle import score
from processors.oracle_facts import Check
from processors.oracle_story import tell, width
from processors.oracle_verdicts import Fate
from processors.shard import Shard
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, PageChange, milliseconds, rfc3339
from schemas.reasons import State
from streams import publish, source_batches

Plant = Callable[[pytest.MonkeyPatch], None]


def altered(patch: pytest.MonkeyPatch, alter: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """The gate reads every event and tick as `alter` makes it; None: it does not read it."""
    real = Shard.apply

    def apply(self: Shard, kind: bytes | None, value: bytes) -> Any:
        if kind not in {b"event", b"tick"}:
            return real(self, kind, value)
        doc = alter(orjson.loads(value))
        return [] if doc is None else real(self, kind, orjson.dumps(doc))

    patch.setattr(Shard, "apply", apply)


def unread(patch: pytest.MonkeyPatch, which: Callable[[dict[str, Any]], bool]) -> None:
    altered(patch, lambda doc: None if which(doc) else doc)


def kind_of(doc: dict[str, Any]) -> str:
    return str(doc.get("page_change_kind") or doc.get("meta", {}).get("stream", "tick"))


def no_grace(patch: pytest.MonkeyPatch) -> None:
    def alter(doc: dict[str, Any]) -> dict[str, Any]:
        if "heard_ms" in doc:
            doc["heard_ms"] = {stream: at_ms + 1000 for stream, at_ms in doc["heard_ms"].items()}
        return doc

    altered(patch, alter)


def no_revert_is_seen(patch: pytest.MonkeyPatch) -> None:
    def alter(doc: dict[str, Any]) -> dict[str, Any]:
        if kind_of(doc) == "edit":
            doc["revision"]["rev_sha1"] = doc["meta"]["id"]
            doc["revision"].pop("revert", None)
        return doc

    altered(patch, alter)


def everyone_is_another(patch: pytest.MonkeyPatch) -> None:
    def alter(doc: dict[str, Any]) -> dict[str, Any]:
        if kind_of(doc) == "edit" and "editor" in doc["revision"]:
            doc["revision"]["editor"]["user_text"] += doc["meta"]["id"]
        return doc

    altered(patch, alter)


def tags_are_not_read(patch: pytest.MonkeyPatch) -> None:
    unread(patch, lambda doc: kind_of(doc) == TAGS_CHANGE)


def deletions_bar_nothing(patch: pytest.MonkeyPatch) -> None:
    unread(patch, lambda doc: kind_of(doc) == "delete")


def hidings_bar_nothing(patch: pytest.MonkeyPatch) -> None:
    unread(patch, lambda doc: kind_of(doc) in {VISIBILITY_CHANGE, "visibility_change"})


def undeletion_is_a_repeat(patch: pytest.MonkeyPatch) -> None:
    unread(patch, lambda doc: kind_of(doc) == "undelete")


def early_signals_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    known: set[int] = set()

    def too_early(doc: dict[str, Any]) -> bool:
        if kind_of(doc) == "edit":
            known.add(doc["revision"]["rev_id"])
        return kind_of(doc) == TAGS_CHANGE and doc["rev_id"] not in known

    unread(patch, too_early)


def late_signals_count_as_early(patch: pytest.MonkeyPatch) -> None:
    def alter(doc: dict[str, Any]) -> dict[str, Any]:
        if kind_of(doc) == TAGS_CHANGE:
            doc["meta"]["dt"] = rfc3339(milliseconds(doc["meta"]["dt"]) - 100)
        return doc

    altered(patch, alter)


def own_undoing_counts_for_nothing(patch: pytest.MonkeyPatch) -> None:
    real = Shard.apply

    def apply(self: Shard, kind: bytes | None, value: bytes) -> Any:
        groups = real(self, kind, value)
        kept = [g._replace(made=tuple(d for d in g.made if d.state is not State.SUPERSEDED)) for g in groups]
        return [group for group in kept if group.made]

    patch.setattr(Shard, "apply", apply)


def the_newest_goes_first(patch: pytest.MonkeyPatch) -> None:
    real = Shard.apply

    def apply(self: Shard, kind: bytes | None, value: bytes) -> Any:
        return [group._replace(made=group.made[::-1]) for group in real(self, kind, value)]

    patch.setattr(Shard, "apply", apply)


def a_release_is_emitted_twice(patch: pytest.MonkeyPatch) -> None:
    real = publish.Publish._emit

    async def emit(self: Any, partition: int, emission: Any) -> Any:
        outs = await real(self, partition, emission)
        return outs + outs[:1] if emission.decision.rev_id % 7 == 0 else outs

    patch.setattr(publish.Publish, "_emit", emit)


def no_tombstone(patch: pytest.MonkeyPatch) -> None:
    real = deliver._retract

    def retract(*given: Any) -> Any:
        page, emissions = real(*given)
        return page, [replace(e, was_head=False) if isinstance(e, deliver.Retract) else e for e in emissions]

    patch.setattr(deliver, "_retract", retract)


def a_retraction_overtakes_its_release(patch: pytest.MonkeyPatch) -> None:
    real = deliver._retract

    def retract(page: Any, decision: Any, at_ms: int, policies: Any) -> Any:
        if any(deliver._same_edit(queued.decision, decision) for queued in page.queue):
            return page, [deliver.Retract(decision=decision, decided_at_ms=at_ms, was_head=False)]
        return real(page, decision, at_ms, policies)

    patch.setattr(deliver, "_retract", retract)


def one_licence_for_all(patch: pytest.MonkeyPatch) -> None:
    real = project.rights
    patch.setattr(project, "rights", lambda *given: replace(real(*given), licence="CC-BY-SA-3.0"))


def blank_attribution(patch: pytest.MonkeyPatch) -> None:
    real = project.rights
    patch.setattr(project, "rights", lambda *given: replace(real(*given), attribution=""))


def content_of_the_edit_before(patch: pytest.MonkeyPatch) -> None:
    last: dict[tuple[str, int], bytes] = {}
    real = publish.Contents.read

    async def read(self: Any, partition: int, offset: int, decision: Any) -> bytes:
        value = await real(self, partition, offset, decision)
        before = last.setdefault((decision.wiki, decision.page_id), value)
        last[decision.wiki, decision.page_id] = value
        return before

    patch.setattr(publish.Contents, "read", read)


def every_release_becomes_the_page(patch: pytest.MonkeyPatch) -> None:
    def stays_empty(page: Any, **changes: Any) -> Any:
        if "heads" in changes:
            changes["heads"] = {}
        return replace(page, **changes)

    patch.setattr(deliver, "replace", stays_empty)


def one_event_is_dropped(patch: pytest.MonkeyPatch) -> None:
    real = source_batches.route

    edits: list[str] = []

    def dropping(event: Any, *given: Any, **more: Any) -> Any:
        if isinstance(event, PageChange):
            edits.append(event.meta.event_id)
        return "other_wiki" if len(edits) >= 10 and event.meta.event_id == edits[9] else real(event, *given, **more)

    patch.setattr(source_batches, "route", dropping)


def repeats_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(route.Seen, "add", lambda self, each: True)


def time_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    real = heard.Heard.until

    def until(self: Any, now_ms: int, *, all_read: bool = True) -> dict[str, int]:
        return {stream: at_ms + 1500 for stream, at_ms in real(self, now_ms, all_read=all_read).items()}

    patch.setattr(heard.Heard, "until", until)


def the_cursor_stands_still(patch: pytest.MonkeyPatch) -> None:
    real = cursor.Cursor.move

    def move(self: Any, meta: Any, now_ms: int) -> None:
        if meta.stream != PAGE_CHANGE or meta.offset < 100:
            real(self, meta, now_ms)

    patch.setattr(cursor.Cursor, "move", move)


def another_partition(patch: pytest.MonkeyPatch) -> None:
    real = route.page_partition
    patch.setattr(route, "page_partition", lambda wiki, page, count: (real(wiki, page, count) + page % 2) % count)


def a_batch_is_written_backwards(patch: pytest.MonkeyPatch) -> None:
    real = source_batches.Batches.outs

    def outs(self: Any, items: Any, *given: Any, **named: Any) -> Any:
        return real(self, list(reversed(items)), *given, **named)

    patch.setattr(source_batches.Batches, "outs", outs)


def bytes_are_written_again(patch: pytest.MonkeyPatch) -> None:
    real = source_batches.Batches._message

    def message(self: Any, message: Any) -> Any:
        return real(
            self, replace(message, data=message.data.replace(b'"is_minor_edit":false', b'"is_minor_edit":true'))
        )

    patch.setattr(source_batches.Batches, "_message", message)


def decisions_are_written_twice(patch: pytest.MonkeyPatch) -> None:
    real = Shard.apply
    patch.setattr(Shard, "apply", lambda self, kind, value: [g for g in real(self, kind, value) for _ in range(2)])


def what_is_hidden_stays(patch: pytest.MonkeyPatch) -> None:
    real = publish.Publish._emit

    async def emit(self: Any, partition: int, emission: Any) -> Any:
        return [out for out in await real(self, partition, emission) if out.value or out.key.count(b":") == 1]

    patch.setattr(publish.Publish, "_emit", emit)


def retractions_name_another_record(patch: pytest.MonkeyPatch) -> None:
    real = publish.retract_record

    def retract(*given: Any, **named: Any) -> bytes:
        doc = orjson.loads(real(*given, **named))
        return orjson.dumps(doc | {"retracts": doc["meta"]["id"]})

    patch.setattr(publish, "retract_record", retract)


def records_tell_another_decision(patch: pytest.MonkeyPatch) -> None:
    real = project._integrity
    patch.setattr(project, "_integrity", lambda decision, at_ms: real(decision, at_ms) | {"fire_at": rfc3339(at_ms)})


def a_revision_gets_no_content(patch: pytest.MonkeyPatch) -> None:
    real = MemoryLine._fetched

    def fetched(self: Any, partition: int, contents: Any, at_ms: int) -> Any:
        return real(self, partition, [c for c in contents if int(c[0].split(b":")[2]) % 9], at_ms)

    patch.setattr(MemoryLine, "_fetched", fetched)


def the_same_key_has_other_bytes(patch: pytest.MonkeyPatch) -> None:
    real = MemoryLine._fetched

    def fetched(self: Any, partition: int, contents: Any, at_ms: int) -> Any:
        again = [(key, content, enriched.replace(b'"parser"', b'"parsed"')) for key, content, enriched in contents]
        return real(self, partition, [*contents, *again], at_ms)

    patch.setattr(MemoryLine, "_fetched", fetched)


def the_cursor_is_ahead(patch: pytest.MonkeyPatch) -> None:
    real = cursor.Cursor.move
    patch.setattr(cursor.Cursor, "move", lambda s, meta, now_ms: real(s, replace(meta, offset=meta.offset + 3), now_ms))


BUGS = {
    "gate releases at the deadline, without grace": (no_grace, 1, Check.DECISIONS, "state, reason"),
    "gate sees no revert": (no_revert_is_seen, 1, Check.DECISIONS, "declared_revert"),
    "gate takes every editor for another": (everyone_is_another, 1, Check.DECISIONS, "superseded"),
    "gate does not read mw-reverted": (tags_are_not_read, 1, Check.DECISIONS, "reverted_tag"),
    "gate lets the edits of a deleted page go on": (deletions_bar_nothing, 1, Check.DECISIONS, "page_delete"),
    "gate lets hidden edits go on": (hidings_bar_nothing, 4, Check.DECISIONS, "hide"),
    "gate supersedes nothing": (own_undoing_counts_for_nothing, 1, Check.DECISIONS, "by self"),
    "gate forgets what is said before its edit": (early_signals_are_forgotten, 1, Check.DECISIONS, "tag"),
    "gate takes a late signal for an early one": (late_signals_count_as_early, 1, Check.DECISIONS, "released"),
    "gate lets the newest of a page go first": (the_newest_goes_first, 1, Check.ORDER, "of the same page"),
    "gate takes an undeletion for a repeat": (undeletion_is_a_repeat, 1, Check.COMPLETE, "epoch 1"),
    "publish sends a release twice": (a_release_is_emitted_twice, 1, Check.DUPLICATES, "a partner got it twice"),
    "publish forgets the tombstone": (no_tombstone, 1, Check.VIEW, "nothing, a tombstone"),
    "publish sends a retraction first": (a_retraction_overtakes_its_release, 1, Check.ORDER, "no release came before"),
    "publish names another licence": (one_licence_for_all, 1, Check.INTEGRITY, "licence"),
    "publish leaves the attribution blank": (blank_attribution, 1, Check.INTEGRITY, "attribution"),
    "publish joins the content of the edit before": (content_of_the_edit_before, 1, Check.INTEGRITY, "revision.id"),
    "publish forgets which edit a page shows": (every_release_becomes_the_page, 1, Check.VIEW, "tombstone"),
    "gate writes its decisions twice": (decisions_are_written_twice, 1, Check.COMPLETE, "two verdicts"),
    "publish does not erase what was hidden": (what_is_hidden_stays, 4, Check.VIEW, "its release is out"),
    "publish takes back another record": (retractions_name_another_record, 1, Check.VIEW, "another record"),
    "publish tells another fire time": (records_tell_another_decision, 1, Check.INTEGRITY, "integrity.fire_at"),
    "fetch loses a revision": (a_revision_gets_no_content, 1, Check.RECOVERED, "never got its content"),
    "enrich gives other bytes the second time": (the_same_key_has_other_bytes, 1, Check.DUPLICATES, "same bytes"),
    "source has its cursor ahead": (the_cursor_is_ahead, 1, Check.TIME, "beyond what"),
    "source loses an event": (one_event_is_dropped, 1, Check.COMPLETE, "lost: a tick's cursor has passed it"),
    "source keeps what comes again after a cut": (repeats_are_kept, 1, Check.DUPLICATES, "2 times on partition"),
    "source says that time is further than it heard": (time_runs_ahead, 1, Check.TIME, "heard 1500 ms further"),
    "source does not move its cursor": (the_cursor_stands_still, 1, Check.TIME, "does not cover"),
    "source writes to another partition": (another_partition, 1, Check.COMPLETE, "not where it belongs"),
    "source writes a batch backwards": (a_batch_is_written_backwards, 1, Check.ORDER, "in the wrong order"),
    "source changes bytes": (bytes_are_written_again, 1, Check.GHOSTS, "not as it was served"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_named_with_what_leads_to_it(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, random_state, check, words = BUGS[bug]
    plant(monkeypatch)
    ledger, line = MemoryLine(told(random_state)).run()
    found = score(ledger, line, murmur2=murmur2)
    named = [each for each in found.disagreements if each.check is check]
    assert any(words in f"{each.what}; {each.expected}; {each.came}" for each in named)
    text = list(tell(ledger, found))
    assert max(map(width, text)) <= 80
    pages = {each.page for each in found.disagreements[:10] if each.page is not None}
    assert all(f"   history of page {wiki}:{page_id} on 2026-01-05" in "\n".join(text) for wiki, page_id in pages)


@pytest.mark.parametrize("random_state", [1, 3, 5])
def test_the_line_as_it_is_agrees_with_the_ledger(random_state: int) -> None:
    found = MemoryLine(told(random_state)).score()
    assert objections(found) == []
    assert found.unfinished == ()
    assert {finding.check for finding in found.findings if finding.looked_at} == set(Check)


def test_edits_that_are_due_together_go_out_in_order_though_a_late_signal_names_the_newer_one() -> None:
    # Revisions 1 and 2 of a page wait; before the tick that would release both, 2 is reverted, after its fire time.
    assert MemoryLine(told(2, crowded=True)).score().disagreements == ()


# Of the knobs of policy files: name → (module, what, what it becomes, which set of policies shows it).


def unheard(**fields: object) -> Callable[..., Any]:
    """The gate does not read events with these fields."""

    def of(real: Callable[..., Any]) -> Callable[..., Any]:
        def apply(self: Shard, kind: bytes | None, value: bytes) -> Any:
            doc = orjson.loads(value)
            skipped = kind == b"event" and all(doc.get(name) == wanted for name, wanted in fields.items())
            return [] if skipped else real(self, kind, value)

        return apply

    return of


def always(value: Any) -> Callable[..., Any]:
    return lambda real: lambda *given, **named: value


def becomes(value: Any) -> Callable[..., Any]:
    return lambda real: value


def without_horizon(real: Callable[..., Any]) -> Callable[..., Any]:
    def take_back(page: Any, edit: Any, policy: int, signal: Any, fire_ms: int, *rest: Any) -> None:
        real(page, edit, policy, signal, max(fire_ms, signal.at_ms - 1), *rest)

    return take_back


KNOBS: dict[str, tuple[Any, str, Callable[..., Any], int]] = {
    "the last rule that matches decides": (plans, "_first", lambda _: lambda rules, *_: (len(rules) - 1, rules[-1]), 5),
    "a creation waits as any edit": (plans, "CREATION_FACTOR", becomes(1), 4),
    "trust counts for nothing": (plans, "EditorClass", becomes(lambda _: "nobody"), 4),
    "a quiet clock counts from the edit": (
        fire, "_quiet", lambda _: lambda page, edit, hold_ms, *_: (edit.start_ms + hold_ms, ()), 4,
    ),
    "a quiet clock knows no longest hold": (
        fire, "_quiet", lambda real: lambda p, e, h, last_ms, g: real(p, e, h, last_ms * 2, g), 4,
    ),
    "a missing score is not waited for": (fire, "SCORE_WAIT_MS", becomes(0), 2),
    "bots are scored": (fire, "UNSCORED", becomes(frozenset()), 2),
    "every wiki has one limit": (fire, "risk_limit", always(0.05), 2),
    "what is over is never let go": (fire, "LOOKED_AT", becomes(frozenset()), 2),
    "a review is not needed": (fire, "_review", lambda _: lambda e, r, w, due_ms, g: (due_ms, False), 3),
    "an approval cannot be taken back": (Shard, "apply", unheard(log_action="unapprove"), 3),
    "every wiki patrols and reviews": (plans, "can_approve", always(True), 3),
    "no page is ever at war": (neighbours, "makes_war", always(False), 4),
    "what an edit stands on is not looked at": (fire, "root", always(None), 1),
    "a text that comes back is not known": (arrive, "_identity", lambda real: lambda *g: (0, real(*g)[1]), 1),
    "blocks bar nothing": (Shard, "apply", unheard(log_action="block"), 1),
    "what restores waits": (arrive, "_release_what_is_out_already", always(None), 1),
    "a null edit of what waits goes out": (arrive, "newest_out", lambda _: lambda page, policy: page.edits[-1], 1),
    "an open rule waits for all streams": (plans, "_streams", always(plans.REQUIRED_STREAMS), 4),
    "a rule waits for page changes only": (plans, "_streams", always(frozenset({PAGE_CHANGE})), 3),
    "protection is not heard": (Shard, "apply", unheard(log_type="protect"), 5),
    "no topic is the one": (plans, "_is_topic", always(False), 5),
    "nothing is breaking": (waits, "BREAKING_EDITORS", becomes(10_000), 5),
    "what is shown again stays away": (telling, "_show_again", always(None), 1),
    "no parent is missing": (arrive, "_seed", always(False), 1),
    "a late signal is passed over": (telling, "take_back", always(None), 1),
    "a gap is passed over": (fire, "_in_gap", lambda _: lambda edit, rule, alone, rules: alone, 1),
    "the horizon has no end": (telling, "take_back", without_horizon, 5),
    "a bar that came late for an earlier fire time is forgotten": (gate, "barred_by_now", always(False), 4),
    "the newest is not the only one": (release, "older", always([]), 1),
    "each is emitted as the latest": (release, "newest_out", always(None), 1),
}  # fmt: skip


@cache
def judged_logs(number: int) -> list[tuple[list[histories.Entry], list[Fate]]]:
    """Random histories under one set of policies, and what the oracle says of them."""
    found: list[list[histories.Entry]] = []

    class Kept(histories.History):
        sets = (histories.SETS[number],)

        def judge(self, log: list[histories.Entry]) -> None:
            found.append(log)

    chosen = settings(
        max_examples=100, stateful_step_count=30, phases=[Phase.generate], deadline=None, derandomize=True,
        database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(Kept, settings=chosen)
    # What few of them have: a tag that comes after its time, on a stream that was behind.
    late = Kept()
    late.edit(page=3, text=0, user="u0", after=0, ago=0)
    late.edit(page=3, text=1, user="u0", after=0, ago=0)
    late.writer.wait(70)
    late.tick_with_a_stream_behind(stream=TAGS_CHANGE, seconds=200)
    late.tag(page=3, back=0, ago=50)
    late.teardown()
    rules = histories.SETS[number]
    judged = [(log, histories.fates_of(log, rules)) for log in found]
    assert not any(
        histories.disagreements(fates, histories.run(histories.shard_of(rules), log)) for log, fates in judged
    )
    return judged


@pytest.mark.parametrize("bug", KNOBS)
def test_a_bug_in_a_knob_of_policy_files_is_caught_in_random_histories(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, alter, number = KNOBS[bug]
    logs, rules = judged_logs(number), histories.SETS[number]  # before the bug is planted
    monkeypatch.setattr(where, name, alter(getattr(where, name)))
    made = ((expected, histories.run(histories.shard_of(rules), log)) for log, expected in logs)
    assert any(histories.disagreements(expected, decisions) for expected, decisions in made)
