"""The generated world: the same from the same arguments, true to itself, and served whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import aiohttp
import orjson
import pytest

from processors.digest import sha1_base36, sha1_base36_from_hex
from schemas.event import (
    PAGE_CHANGE,
    READABLE,
    RECENT_CHANGE,
    TAGS_CHANGE,
    VISIBILITY_CHANGE,
    Canary,
    Event,
    PageChange,
    RecentChange,
    TagsChange,
    VisibilityChange,
    decode_event,
    rfc3339,
)
from streams.eventstreams import SimulatedSource
from streams.world import BEGIN_MS, Announced, World, build_world, play

ROOT = Path(__file__).parents[1]
STATES = range(10)
each_state = pytest.mark.parametrize("state", STATES)
PRINT_DIGEST = "from tests.test_world import digest; print(digest(3))"


@cache
def world(state: int) -> World:
    return build_world(state)


def announced(made: World) -> list[Announced]:
    return [entry for entry in made.timeline if isinstance(entry, Announced)]


@cache
def events(state: int) -> tuple[Event, ...]:
    return tuple(decode_event(orjson.dumps(entry.event)) for entry in announced(world(state)))


def changes(state: int) -> list[PageChange]:
    return [event for event in events(state) if isinstance(event, PageChange)]


def digest(state: int) -> str:
    """Of every entry of a world made anew."""
    whole = hashlib.sha256()
    for entry in build_world(state).timeline:
        whole.update(orjson.dumps(entry))
    return whole.hexdigest()


def test_the_same_arguments_give_the_same_bytes_in_another_process_with_another_hash_seed():
    env = {**os.environ, "PYTHONHASHSEED": "271", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", PRINT_DIGEST], env=env, cwd=ROOT, check=True, capture_output=True)
    assert run.stdout.decode().strip() == digest(3)


def test_another_random_state_gives_other_bytes():
    assert digest(3) != digest(4)


@each_state
def test_every_event_can_be_read_and_only_the_active_datacentre_speaks_of_wikis(state):
    for entry, event in zip(announced(world(state)), events(state), strict=True):
        assert isinstance(event, Canary) or entry.topic == f"eqiad.{event.meta.stream}"
        assert event.meta.at_ms == entry.at_ms


@each_state
def test_each_event_has_an_id_of_its_own(state):
    ids = [event.meta.event_id for event in events(state)]
    assert len(set(ids)) == len(ids)


@each_state
def test_each_topic_has_a_canary_every_half_second_to_the_end(state):
    made = world(state)
    by_topic: dict[str, list[int]] = {}
    for entry, event in zip(announced(made), events(state), strict=True):
        if isinstance(event, Canary):
            by_topic.setdefault(entry.topic, []).append(entry.at_ms)
    assert len(by_topic) == 2 * len(READABLE)
    for times in by_topic.values():
        assert times == list(range(BEGIN_MS, made.end_ms + 1, 500))


@each_state
def test_what_an_edit_event_says_of_the_text_is_what_the_api_serves_at_that_moment(state):
    made, checked = build_world(state), 0
    for n, entry in enumerate(made.timeline):
        made.played = n + 1
        event = decode_event(orjson.dumps(entry.event)) if isinstance(entry, Announced) else None
        answer = made.revision(event.meta.domain, event.rev_id) if isinstance(event, PageChange) else None
        if not isinstance(event, PageChange) or answer is None:
            continue
        revision = answer["revision"]
        main = revision["slots"]["main"]
        assert (answer["pageid"], revision["revid"], revision["parentid"]) == (
            event.page_id,
            event.rev_id,
            event.parent_id,
        )
        assert sha1_base36_from_hex(main["sha1"]) == sha1_base36(main["content"]) == event.rev_sha1
        assert event.main is not None
        assert event.main.sha1 == event.rev_sha1
        assert len(main["content"].encode()) == event.rev_size == event.main.size_bytes == main["size"]
        checked += 1
    assert checked > 150


@each_state
def test_a_revision_is_unknown_before_its_event_and_known_from_then_on(state):
    made = build_world(state)
    saved = {truth.rev_id for truth in made.truth}
    made.played = 0
    assert all(made.revision(domain, rev_id) is None for domain in DOMAINS for rev_id in saved)
    for n, entry in enumerate(made.timeline):
        made.played = n + 1
        if isinstance(entry, Announced) and entry.event.get("page_change_kind") in {"create", "edit", "move"}:
            domain, event = entry.event["meta"]["domain"], entry.event
            gone = any(
                change.kind == "delete" and change.page_id == event["page"]["page_id"] and change.meta.domain == domain
                for change in changes(state)
            )
            if domain != "canary" and not gone:
                assert made.revision(domain, event["revision"]["rev_id"]) is not None


DOMAINS = ("en.wikipedia.org", "de.wikipedia.org", "ja.wikipedia.org")


@each_state
def test_what_the_events_name_as_reverted_exists_and_an_exact_revert_brings_an_earlier_text_back(state):
    histories: dict[tuple[str, int], dict[int, str | None]] = {}
    for change in changes(state):
        history = histories.setdefault((change.wiki, change.page_id), {})
        if change.kind == "edit":
            assert change.prior_rev_id is not None
            history.setdefault(change.prior_rev_id, change.prior_rev_sha1)
        if change.revert is not None:
            assert change.revert.oldest_rev_id in history
            assert change.revert.newest_rev_id in history
            before = [sha1 for rev_id, sha1 in history.items() if rev_id < change.revert.oldest_rev_id]
            assert not change.revert.is_exact or change.rev_sha1 in before
        if change.kind in {"create", "edit", "move"}:
            history[change.rev_id] = change.rev_sha1


@each_state
def test_an_edit_that_the_truth_calls_undone_exactly_has_its_page_back_as_it_was(state):
    by_id = {(change.wiki, change.rev_id): change for change in changes(state) if change.kind in {"create", "edit"}}
    undone = [truth for truth in world(state).truth if truth.undone_by and truth.how != "repair"]
    for truth in undone:
        bad, undoing = by_id[truth.wiki, truth.rev_id], by_id[truth.wiki, truth.undone_by or 0]
        assert undoing.parent_id == bad.rev_id
        assert undoing.rev_sha1 == bad.prior_rev_sha1 != bad.rev_sha1
        assert undoing.editor is None or bad.editor is None or (
            (undoing.editor.user_text == bad.editor.user_text) == (truth.kind == "self_reverted")
        )  # fmt: skip
    assert len(undone) > 15


@each_state
def test_the_revisions_of_a_page_come_in_order_each_after_its_parent(state):
    last: dict[tuple[str, int], PageChange] = {}
    for change in changes(state):
        before = last.get((change.wiki, change.page_id))
        if before is not None:
            assert change.meta.at_ms > before.meta.at_ms
            assert change.rev_id >= before.rev_id
            if change.kind in {"edit", "move"}:
                assert change.parent_id == change.prior_rev_id == before.rev_id
        assert (change.parent_id == 0) == (change.kind == "create") or change.kind not in {"create", "edit", "move"}
        assert 0 < change.meta.at_ms - change.happened_ms < 2100
        last[change.wiki, change.page_id] = change


@each_state
def test_each_kind_of_thing_happens_in_each_world(state):
    made, page_changes = world(state), changes(state)
    assert {change.kind for change in page_changes} == {
        "create", "edit", "move", "delete", "undelete", "visibility_change",
    }  # fmt: skip
    kinds = {truth.kind for truth in made.truth}
    assert kinds >= {"good", "vandalism", "self_reverted", "undo", "move", "redirect"}
    vandalism = [truth for truth in made.truth if truth.kind == "vandalism"]
    assert {truth.how for truth in vandalism} >= {"rollback", "undo", "manual", "deletion", None}
    assert 0.12 < len(vandalism) / made.edits < 0.24
    assert sum(truth.how is not None for truth in vandalism) > 0.65 * len(vandalism)
    assert {change.wiki for change in page_changes if change.revert} == {"enwiki", "jawiki"}
    logs = {(event.log_type, event.log_action) for event in events(state) if isinstance(event, RecentChange)}
    assert logs >= {
        ("patrol", "patrol"), ("block", "block"), ("delete", "delete"), ("delete", "restore"),
        ("delete", "revision"), ("move", "move"), (None, None),
    }  # fmt: skip
    types = {event.type for event in events(state) if isinstance(event, RecentChange)}
    assert types == {"edit", "new", "log"}
    editors = [change.editor for change in page_changes if change.editor is not None]
    assert {editor.is_temp for editor in editors} == {editor.is_bot for editor in editors} == {True, False}
    assert any(change.is_redirect for change in page_changes if change.kind == "create")


@each_state
def test_tags_come_before_and_after_the_edit_they_belong_to_and_the_reverted_one_hears_late_or_never(state):
    known: set[tuple[str, int]] = set()
    early: list[bool] = []
    reverted: set[tuple[str, int]] = set()
    seen: set[str] = set()
    for event in events(state):
        if isinstance(event, PageChange):
            known.add((event.wiki, event.rev_id))
        if isinstance(event, TagsChange):
            seen |= event.added
            if event.added == {"mw-reverted"}:
                reverted.add((event.wiki, event.rev_id))
                assert (event.wiki, event.rev_id) in known
            else:
                early.append((event.wiki, event.rev_id) not in known)
    undone = {(truth.wiki, truth.rev_id) for truth in world(state).truth if truth.undone_by and truth.how != "repair"}
    assert seen == {"mw-rollback", "mw-undo", "mw-manual-revert", "mw-reverted"}
    assert {True, False} == set(early)
    assert reverted < undone
    assert all("performer" not in entry.event for entry in announced(world(state)) if is_tags_change(entry))


def is_tags_change(entry: Announced) -> bool:
    return entry.event["meta"]["stream"] == TAGS_CHANGE


@each_state
def test_recentchange_mostly_comes_before_page_change_and_at_times_after(state):
    known: set[tuple[str, int]] = set()
    early: list[bool] = []
    for event in events(state):
        if isinstance(event, PageChange):
            known.add((event.wiki, event.rev_id))
        if isinstance(event, RecentChange) and event.rev_id is not None:
            early.append((event.wiki, event.rev_id) not in known)
    assert 0.8 < sum(early) / len(early) < 1


@each_state
def test_hidden_text_is_withheld_by_the_api_and_what_was_deleted_for_good_is_missing(state):
    made = build_world(state)
    made.played = len(made.timeline)
    hidden = [event for event in events(state) if isinstance(event, VisibilityChange)]
    assert {(event.visibility.text, event.visibility.user) for event in hidden} == {(False, True), (True, False)}
    for event in hidden:
        answer = made.revision(event.meta.domain, event.rev_id)
        # The page of a hidden revision may be deleted later.
        if answer is not None:
            main = answer["revision"]["slots"]["main"]
            assert main.get("texthidden", False) == main.get("sha1hidden", False) == (not event.visibility.text)
            assert ("content" in main) == event.visibility.text
            assert answer["revision"].get("userhidden", False) == (not event.visibility.user)
    deleted = {(c.meta.domain, c.page_id): c.rev_id for c in changes(state) if c.kind == "delete"}
    back = {(c.meta.domain, c.page_id): c.rev_id for c in changes(state) if c.kind == "undelete"}
    assert len(deleted) == 2
    assert len(back) == 1
    assert back.items() <= deleted.items()
    for (domain, page_id), rev_id in deleted.items():
        assert (made.revision(domain, rev_id) is not None) == ((domain, page_id) in back)


@each_state
def test_a_move_leaves_a_redirect_that_is_created_first_and_keeps_page_id_and_text(state):
    (move,) = [change for change in changes(state) if change.kind == "move"]
    (redirect,) = [change for change in changes(state) if change.is_redirect and change.kind == "create"]
    assert redirect.meta.at_ms < move.meta.at_ms
    assert redirect.title == move.prior_title != move.title
    assert redirect.page_id != move.page_id
    assert move.rev_sha1 == move.prior_rev_sha1
    assert move.main is not None
    assert move.main.origin_rev_id is not None
    assert move.main.origin_rev_id < move.rev_id


@each_state
def test_revision_ids_of_one_wiki_do_not_fit_into_31_bits(state):
    for change in changes(state):
        assert (change.rev_id > 2**31) == (change.wiki == "jawiki")


def test_a_world_of_another_rate_and_length_has_as_many_edits_as_asked_for():
    for seconds, rate in ((10, 2), (20, 30), (4, 1)):
        made = build_world(5, seconds=seconds, rate=rate)
        inside = [
            e
            for e in announced(made)
            if e.event.get("page_change_kind") in {"create", "edit"} and e.at_ms < BEGIN_MS + seconds * 1000
        ]
        edits = [entry for entry in inside if entry.event["meta"]["domain"] != "canary"]
        assert 0.75 * seconds * rate - 3 < len(edits) < 1.15 * seconds * rate + 8


def test_siteinfo_names_the_namespaces_in_the_language_of_the_wiki():
    names = [world(0).siteinfo(domain)["namespaces"]["14"]["name"] for domain in DOMAINS]
    assert names == ["Category", "Kategorie", "カテゴリ"]


async def read_stream(url: str, count: int) -> list[dict[str, object]]:
    """The first `count` messages of a plain GET."""
    found: list[dict[str, object]] = []
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session, session.get(url) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[len(b"data: ") :]))
                if len(found) == count:
                    break
    return found


async def test_every_message_that_is_played_arrives_once_and_in_order():
    made = build_world(6)
    source = SimulatedSource(made)
    await source.start()
    try:
        streams = ",".join((PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE))
        url = f"{source.url}/v2/stream/{streams}?since={rfc3339(BEGIN_MS)}"
        said = announced(made)
        count = len(said) + 8 * 2 * 3
        playing = asyncio.create_task(play(made, source, speed=0, after_seconds=3))
        found = await read_stream(url, count)
        await playing
        assert len(source.messages) == count
        assert [event["meta"]["id"] for event in found[: len(said)]] == [entry.event["meta"]["id"] for entry in said]
        assert {event["meta"]["domain"] for event in found[len(said) :]} == {"canary"}
        ids = [event["meta"]["id"] for event in found]
        assert len(set(ids)) == count
        offsets: dict[str, list[int]] = {}
        for event in found:
            offsets.setdefault(event["meta"]["topic"], []).append(event["meta"]["offset"])
        assert all(values == list(range(len(values))) for values in offsets.values())
    finally:
        await source.stop()


async def test_a_world_at_some_speed_takes_its_time_and_never_runs_ahead():
    made = build_world(7, seconds=2)
    loop = asyncio.get_running_loop()
    source = SimulatedSource(made)
    began = loop.time()
    await play(made, source, speed=20, after_seconds=1)
    world_seconds = (made.end_ms - BEGIN_MS) / 1000 + 1
    assert loop.time() - began >= world_seconds / 20
    assert made.played == len(made.timeline)
