"""Erasure over the whole line: once it is done, no reader of any topic gets what was hidden, and no file has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from api_server import ApiServer
from conftest import MakeSettings, all_readable, in_log_files, produce, read_all, sent_once
from sse_server import SseServer, canaries, tags_change
from test_erase import AT_MS, CULPRIT, SECRET, compact_soon, edit, hide, show, suppress, undelete

from processors.digest import sha1_base36
from schemas.event import rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams.kafka import Out, header
from streams.settings import Settings
from streams.step_processes import StepProcesses
from streams.topics import Topics

pytestmark = [pytest.mark.kafka]

PAGE = f"It begins. [https://example.org/{SECRET} {SECRET}] it said, by {CULPRIT}."
CLEAN = "It begins. Nobody is named."
HOLD_MS = 60_000
# Wherever the words get to, one way or another.
HAVE_IT = {"source", "content", "enriched", "deadletter", "live", "reviewed-minute", "pages-minute"}


@pytest.fixture
async def wiki() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


async def settings_of(make_settings: MakeSettings, server: SseServer, wiki: ApiServer) -> Settings:
    """One partition, two windows, everything at once; time goes by canaries alone."""
    return await make_settings(
        partitions=1, source=server.url, content=wiki.template, since="earliest", tick_seconds=0.1,
        erase_seconds=0.3, linger_seconds=0.05, requests_per_minute=100_000.0, replica_lag_seconds=0.1,
        quiet_seconds=3600.0, caught_up_seconds=3600.0, grace_seconds=0.0,
        policies=(Policy(name="live", hold_seconds=0), Policy(name="minute", hold_seconds=HOLD_MS / 1000)),
    )  # fmt: skip


def of(rev: int, text: str, *, at: int | None = None, **more: Any) -> dict[str, Any]:
    """An edit that announces `text`. at: ms after the first."""
    doc = edit(rev, **more)
    doc["revision"] |= {"rev_sha1": sha1_base36(text), "rev_parent_id": rev - 1}
    if at is not None:
        doc["meta"]["dt"] = doc["dt"] = doc["revision"]["rev_dt"] = rfc3339(AT_MS + at)
    return doc


async def test_what_was_hidden_is_in_no_topic_and_no_file_afterwards_and_the_edit_after_it_is_out_without_it(
    make_settings: MakeSettings, wiki: ApiServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    #  5 says it ── 6 quotes it ── 5 is undone: taken back where it was out ── 5 is hidden ── 6 is due elsewhere
    async with SseServer().running() as server:
        settings = await settings_of(make_settings, server, wiki)
        topics = Topics(settings)
        for rev, text in ((4, "It begins."), (5, PAGE), (6, CLEAN), (8, "another")):
            wiki.put(rev, text)
        after = of(6, CLEAN, prior=5, user="Another")
        after["prior_state"]["revision"]["rev_sha1"] = sha1_base36(PAGE)
        after["revision"]["comment"] = "out with it"
        after["meta"] |= {"uri": "https://en.wikipedia.org/wiki/P", "dt": rfc3339(AT_MS + HOLD_MS // 2)}
        after["revision"]["rev_dt"] = after["dt"] = after["meta"]["dt"]
        mismatch = edit(8, page=9)  # announces another text than there is
        unread = edit(5) | {"$schema": "/mediawiki/page/change/2.0.0"}
        unread["meta"] |= {"id": "unread"}
        steps = StepProcesses(settings, tmp_path)
        try:
            for step in Step:
                steps.start(step)
            await server.add(of(5, PAGE), mismatch, unread, after)
            await server.add(*canaries(1, AT_MS + HOLD_MS + 500))
            await until(lambda: has(settings, topics.edits("minute"), SECRET))
            await until(lambda: has(settings, topics.enriched, "out with it"))
            await until(lambda: has(settings, topics.edits("live"), "out with it"))
            quoting = [r for r in await read_all(settings, topics.edits("live")) if r.key.startswith(b"enwiki:7:6:")]
            assert SECRET.encode() in quoting[0].value
            await server.add(tags_change(5, AT_MS + HOLD_MS + 800, page=7))
            await until(lambda: taken_back(settings, "live"))
            await until(lambda: taken_back(settings, "minute"))
            assert await count(settings, topics.deadletter) >= 1
            # Of a broker that somebody else runs we see no files.
            folders = [*tmp_path_factory.getbasetemp().glob(f"kafka*/data/{settings.topic_prefix}.*")]
            before = {folder for folder in folders if in_log_files(folder, SECRET, CULPRIT)}
            assert {folder.name.split(".")[1] for folder in before} >= HAVE_IT or not folders
            # Not before: a step does not start on topics that are not as they should be.
            await compact_soon(settings, *(row.name for row in topics.table() if "compact" in row.cleanup))
            wiki.hide(5)
            await server.add(hide(5, at=HOLD_MS + 1000), hide(8, page=9, at=HOLD_MS + 1001))
            await until(lambda: clean(settings))
            await until(lambda: clean_files(settings, folders))
            await server.add(*canaries(2, AT_MS + 10 * HOLD_MS))
            await until(lambda: has(settings, topics.edits("minute"), "out with it"))
            assert await clean(settings)
        finally:
            await asyncio.to_thread(steps.stop)
            steps.end()
        for policy in ("live", "minute"):
            out = [r for r in await read_all(settings, topics.edits(policy)) if r.key == b"enwiki:7:6:0:release"]
            doc = orjson.loads(out[-1].value)
            assert (doc["delta"], doc["delta_absent"]) == (None, "hidden")
            assert doc["content"]["plain_text"] == CLEAN
            page = [r for r in await read_all(settings, topics.pages(policy)) if r.key == b"enwiki:7"]
            assert orjson.loads(page[-1].value)["change"]["revision"]["id"] == 6
    letters = await read_all(settings, topics.deadletter)
    assert {header(letter, "reason") for letter in letters} >= {b"unknown_schema", b"sha1_mismatch"}


async def test_what_is_shown_again_goes_out_again_with_its_text_and_holds_nothing_back_though_steps_are_killed(
    make_settings: MakeSettings, wiki: ApiServer, tmp_path: Path
) -> None:
    #  5 is out live ── hidden ── shown again ── kill -9 ── 5 and 6 are due        page 8: suppressed, undeleted at once
    async with SseServer().running() as server:
        settings = await settings_of(make_settings, server, wiki)
        topics = Topics(settings)
        for rev, text in ((4, "It begins."), (5, PAGE), (6, CLEAN), (9, PAGE)):
            wiki.put(rev, text, page_id=8 if rev == 9 else 7)
        steps = StepProcesses(settings, tmp_path)
        try:
            for step in Step:
                steps.start(step)
            # Of a topic that has never spoken a source that is started anew hears only what comes from then on.
            await server.add(*canaries(1, AT_MS), of(5, PAGE), of(9, PAGE, page=8))
            await until(lambda: out(settings, "live", {"7:5:0", "8:9:0"}))
            wiki.hide(5)
            back = undelete(9, page=8, at=102)
            back["revision"] |= {"rev_sha1": sha1_base36(PAGE), "rev_parent_id": 8}
            await server.add(hide(5, at=100), suppress(9, page=8, at=101), back)
            await until(lambda: gone(settings, topics.content, {b"enwiki:7:5"}))
            wiki.put(5, PAGE)
            await server.add(show(5, at=200), of(6, CLEAN, at=300))
            for step in (Step.SOURCE, Step.FETCH, Step.PUBLISH):
                steps.kill(step)
                steps.start(step)
            await server.add(*canaries(2, AT_MS + HOLD_MS + 500))
            await until(lambda: out(settings, "live", {"7:5:1", "7:6:0", "8:9:1"}))
            await until(lambda: out(settings, "minute", {"7:5:1", "7:6:0", "8:9:1"}))
            await all_readable(settings)
            assert await out(settings, "live", {"7:5:1", "7:6:0", "8:9:1"})
        finally:
            await asyncio.to_thread(steps.stop)
            steps.end()
        for policy in ("live", "minute"):
            records = await read_all(settings, topics.edits(policy))
            assert sent_once(records)
            last = {record.key: record.value for record in records}
            again = orjson.loads(last[b"enwiki:7:5:1:release"])
            assert again["content"]["plain_text"].startswith("It begins.")
            assert again["change"]["event_id"] == "show-5"
    assert await read_all(settings, topics.deadletter) == []


async def out(settings: Settings, policy: str, wanted: set[str]) -> bool:
    last = {record.key: record.value for record in await read_all(settings, Topics(settings).edits(policy))}
    return all(last.get(f"enwiki:{each}:release".encode()) for each in wanted)


async def gone(settings: Settings, topic: str, wanted: set[bytes]) -> bool:
    return wanted <= {record.key for record in await read_all(settings, topic) if record.value is None}


async def taken_back(settings: Settings, policy: str) -> bool:
    keys = {record.key for record in await read_all(settings, Topics(settings).edits(policy))}
    return b"enwiki:7:5:0:retract" in keys


async def until(enough: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await enough():  # noqa: ASYNC110 - a topic tells nobody
            await asyncio.sleep(0.2)


async def has(settings: Settings, topic: str, text: str) -> bool:
    return any(text.encode() in (record.value or b"") for record in await read_all(settings, topic))


async def count(settings: Settings, topic: str) -> int:
    return len(await read_all(settings, topic))


async def clean(settings: Settings) -> bool:
    """Whether no topic has the hidden words, in key, value or header. Writes a little, as a busy line would: nothing is
    erased from a partition that is not written to."""
    topics = Topics(settings)
    found = []
    for row in topics.table():
        for record in await read_all(settings, row.name):
            said = b"\n".join([record.key or b"", record.value or b"", *(value for _, value in record.headers)])
            if any(word.encode() in said for word in (SECRET, CULPRIT)):
                found.append((row.name, record.key))
    if found:
        print(sorted(set(found)))
        await produce(settings, fillers(settings))
    return not found


async def clean_files(settings: Settings, folders: list[Path]) -> bool:
    left = sorted(folder.name for folder in folders if in_log_files(folder, SECRET, CULPRIT))
    if left:
        print(left)
        await produce(settings, fillers(settings))
    return not left


def fillers(settings: Settings) -> list[Out]:
    topics = Topics(settings)
    names = [topics.enriched, topics.content, topics.decisions, topics.deadletter, topics.publish_state]
    names += [topics.gate_state]
    names += [name for policy in topics.policies for name in (topics.edits(policy), topics.pages(policy))]
    # Tombstones of what never was: no step minds them.
    key = f"x:1:{time.time_ns()}".encode()
    return [Out(topic=name, key=key, value=None, partition=0) for name in names]
