"""Completeness: what the source never sent is found by asking the wikis, and put into the log, marked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from conftest import MakeSettings, read_all
from test_source import running, until
from test_world import live

from processors.digest import sha1_base36
from processors.reconcile import InvalidRow, event_of, listed
from schemas.event import PageChange, decode_event, rfc3339
from streams.clock import now_ms
from streams.eventstreams import SimulatedSource
from streams.kafka import header
from streams.reconcile import reconcile
from streams.topics import Topics
from streams.world import World, build_world, play
from streams.world_scene import Announced

AT_MS = 1_795_314_219_000
SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def row(**more: Any) -> dict[str, Any]:
    return {
        "type": "edit", "ns": 0, "title": "Loch Ness", "pageid": 7, "revid": 5_000_000_000, "old_revid": 4, "user": "A",
        "userid": 3, "bot": False, "minor": True, "newlen": 0, "timestamp": "2026-11-22T02:23:39Z", "comment": "c",
        "sha1": SHA1,
    } | more  # fmt: skip


def test_a_row_of_the_api_makes_the_event_that_the_source_should_have_sent() -> None:
    change = listed(row(), "enwiki", "en.wikipedia.org")
    assert change is not None
    event = decode_event(event_of(change, AT_MS))
    assert isinstance(event, PageChange)
    assert (event.kind, event.wiki, event.page_id, event.rev_id, event.parent_id) == (
        "edit",
        "enwiki",
        7,
        5_000_000_000,
        4,
    )
    assert (event.title, event.comment, event.is_minor) == ("Loch_Ness", "c", True)
    assert event.rev_sha1 == sha1_base36("")
    assert event.editor is not None
    assert event.editor.user_text == "A"
    # It is heard of now, whenever it was made.
    assert (event.meta.at_ms, event.rev_ms) == (AT_MS, change.at_ms)
    assert event_of(change, AT_MS) == event_of(change, AT_MS)


def test_what_the_api_hides_is_hidden_in_the_event() -> None:
    hidden = row(userhidden=True, commenthidden=True, sha1hidden=True)
    for name in ("user", "userid", "comment", "sha1"):
        del hidden[name]
    change = listed(hidden, "enwiki", "en.wikipedia.org")
    assert change is not None
    event = decode_event(event_of(change, AT_MS))
    assert isinstance(event, PageChange)
    assert (event.content_visible, event.editor_visible, event.comment_visible) == (False, False, False)
    assert (event.editor, event.comment, event.rev_sha1) == (None, None, None)


def test_log_actions_make_no_event_and_a_row_without_a_place_is_an_error() -> None:
    assert listed(row(type="log"), "enwiki", "d") is None
    with pytest.raises(InvalidRow):
        listed({"type": "edit"}, "enwiki", "d")


@pytest.mark.kafka
async def test_events_that_were_withheld_are_found_and_put_into_the_log_once_and_marked(
    make_settings: MakeSettings,
) -> None:
    made = build_world(3, seconds=20, rate=10)
    told = [entry.event for entry in live(made) if isinstance(entry, Announced)]
    edits = [e for e in told if e.get("page_change_kind") in {"create", "edit"}]
    standing = {(e["wiki_id"], e["revision"]["rev_id"]) for e in edits if listed_at_the_end(made, e)}
    withheld = set(sorted(standing)[::9])
    world = build_world(3, seconds=20, rate=10)
    source = SimulatedSource(world)
    source.faults.withheld = set(withheld)
    await source.start()
    settings = await make_settings(
        source=source.url, content=source.content, since="earliest", tick_seconds=0.05, requests_per_minute=6000.0
    )
    wikis = dict.fromkeys(made.wikis, "")
    try:
        await play(world, source, speed=0, after_seconds=1)
        async with running(settings):
            await until(settings, lambda log: bool(log.events) and ends(log, source))
            reports = await reconcile(settings, wikis, world.begin_ms, now_ms(), inject=False)
            assert {(c.wiki, c.rev_id) for r in reports for c in r.missing} == withheld
            assert sum(r.listed for r in reports) > 100
            for _ in range(2):  # put in twice, written once
                found = await asyncio.to_thread(command, settings, world.begin_ms, wikis)
                assert found.returncode == 0, found.stderr
            log = await until(settings, lambda log: len(marked(log)) >= len(withheld))
            again = await reconcile(settings, wikis, world.begin_ms, now_ms(), inject=True)
            # It is erased in the log alone, should it be hidden one day: so it may not stay where it came from.
            await nothing_stays(settings)
    finally:
        await source.stop()
    assert {(w, int(r)) for w, _, r, _ in (m.key.decode().split(":") for m in marked(log))} == withheld
    assert len(marked(log)) == len(withheld)
    assert [r.missing for r in again] == [[] for _ in again]


async def nothing_stays(settings: Any) -> None:
    async with asyncio.timeout(30):
        while True:
            last = {record.key: record.value for record in await read_all(settings, Topics(settings).control)}
            if last and not any(last.values()):
                return
            await asyncio.sleep(0.05)


def listed_at_the_end(world: World, event: Mapping[str, Any]) -> bool:
    """Recent changes of a page go with it."""
    return any(row.get("revid") == event["revision"]["rev_id"] for row in world.recent(event["meta"]["domain"]))


def ends(log: Any, source: SimulatedSource) -> bool:
    tick = log.last_tick()
    places = {p.topic: p.next_offset for p in tick.cursor} if tick is not None else {}
    return bool(places) and all(source.size(topic) == places[topic] for topic in places if "prediction" not in topic)


def marked(log: Any) -> list[Any]:
    return [r for r in log.events if header(r, "reconciled") == b"1"]


def command(settings: Any, begin_ms: int, wikis: dict[str, str]) -> subprocess.CompletedProcess[str]:
    arguments = ["reconcile", "--wikis", ",".join(wikis), "--since", rfc3339(begin_ms)]
    env = os.environ | {name: value for name, value, _ in settings.described()}
    line = [sys.executable, "-m", "streams.cli", *arguments]
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.kafka
async def test_a_wiki_that_nobody_knows_is_an_error_and_nothing_is_asked(make_settings: MakeSettings) -> None:
    settings = await make_settings(content="http://127.0.0.1:1/{domain}/w/api.php")
    with pytest.raises(LookupError, match=r"xywiki=its\.domain\.org"):
        await reconcile(settings, {"xywiki": ""}, 0, now_ms(), inject=True)
