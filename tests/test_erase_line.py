"""Erasure over the whole line: once it is done, no reader of any topic gets what was hidden, and no file has it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from api_server import ApiServer
from conftest import in_log_files, produce, read_all, sent_once
from sse_server import SseServer, canaries, page_change, tags_change
from test_erase import AT_MS, CULPRIT, SECRET, compact_soon, edit, hide, show, suppress

from processors.digest import sha1_base36
from schemas.event import rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams import cluster
from streams.kafka import Out, header
from streams.settings import Settings
from streams.step_processes import StepProcesses
from streams.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]

PAGE = f"It begins. [https://example.org/{SECRET} {SECRET}] it said, by {CULPRIT}."
CLEAN = "It begins. Nobody is named."
HOLD_MS = 60_000
EARLIER_MS = AT_MS - 20 * HOLD_MS
# Wherever the words get to, one way or another.
HAVE_IT = {"source", "content", "enriched", "deadletter", "live", "reviewed-minute", "pages-minute"}


@dataclass
class Line:
    """All five steps as processes, between a source and a wiki: one partition, two windows, everything at once. Time
    goes by canaries alone."""

    settings: Settings
    steps: StepProcesses
    server: SseServer
    wiki: ApiServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    async with SseServer().running() as server, ApiServer() as wiki:
        settings = Settings(
            kafka=kafka, topic_prefix=f"erased{os.getpid()}", partitions=1, assign="all", metrics_port=0,
            source=server.url, content=wiki.template, since="earliest", tick_seconds=0.1, erase_seconds=0.3,
            linger_seconds=0.05, requests_per_minute=100_000.0, replica_lag_seconds=0.1,
            quiet_seconds=3600.0, caught_up_seconds=3600.0, grace_seconds=0.0,
            policies=(Policy(name="live", hold_seconds=0), Policy(name="minute", hold_seconds=HOLD_MS / 1000)),
        )  # fmt: skip
        await cluster.create(settings)
        steps = StepProcesses(settings, tmp_path_factory.mktemp("steps"))
        try:
            for step in Step:
                steps.start(step)
            yield Line(settings, steps, server, wiki)
        finally:
            await asyncio.to_thread(steps.stop)
            steps.end()
            await cluster.delete(settings)


def said(rev: int, *, page: int = 17, at: int = 0) -> dict[str, Any]:
    """An edit that says nothing that is hidden later on."""
    doc = page_change(rev, EARLIER_MS + at, page=page)
    doc["revision"] |= {"rev_sha1": sha1_base36(f"It is said {rev}."), "rev_parent_id": rev - 1}
    return doc


def of(rev: int, text: str, **more: Any) -> dict[str, Any]:
    """An edit of page 7 that announces `text`."""
    doc = edit(rev, **more)
    doc["revision"] |= {"rev_sha1": sha1_base36(text), "rev_parent_id": rev - 1}
    return doc


async def test_what_is_shown_again_goes_out_again_with_its_text_and_holds_nothing_back_though_steps_are_killed(
    line: Line,
) -> None:
    #  25 is out live ── hidden ── shown again ── kill -9 ── 25 and 26 are due    page 18: suppressed, undeleted at once
    settings, server, topics = line.settings, line.server, Topics(line.settings)
    for rev, page in ((24, 17), (25, 17), (26, 17), (29, 18)):
        line.wiki.put(rev, f"It is said {rev}.", page_id=page)
    # Of a topic that has never spoken a source that is started anew hears only what comes from then on.
    await server.add(*canaries(1, EARLIER_MS), said(25), said(29, page=18))
    await until(lambda: out(settings, "live", {"17:25:0", "18:29:0"}))
    line.wiki.hide(25)
    gone = suppress(29, page=18) | {"comment": ""}
    again = said(29, page=18, at=102) | {"page_change_kind": "undelete"}
    again["meta"] |= {"id": "undelete-18"}
    for doc, at in ((gone, 101), (hiding := hide(25, page=17), 100), (showing := show(25, page=17), 200)):
        doc["meta"] |= {"dt": rfc3339(EARLIER_MS + at), "uri": ""}
        doc["comment"] = "not a word"
    await server.add(hiding, gone, again)
    await until(lambda: has_gone(settings, topics.content, b"enwiki:17:25"))
    line.wiki.put(25, "It is said 25.", page_id=17)
    await server.add(showing, said(26, at=300))
    for step in (Step.SOURCE, Step.FETCH, Step.PUBLISH):
        line.steps.kill(step)
        line.steps.start(step)
    await server.add(*canaries(2, EARLIER_MS + HOLD_MS + 500))
    for policy in ("live", "minute"):
        await until(lambda policy=policy: out(settings, policy, {"17:25:1", "17:26:0", "18:29:1"}))  # type: ignore[misc]
        records = await read_all(settings, topics.edits(policy))
        assert sent_once(records)
        shown = orjson.loads({record.key: record.value for record in records}[b"enwiki:17:25:1:release"])
        assert (shown["content"]["plain_text"], shown["change"]["event_id"]) == ("It is said 25.", "show-25")
    assert await read_all(settings, topics.deadletter) == []


async def test_what_was_hidden_is_in_no_topic_and_no_file_afterwards_and_the_edit_after_it_is_out_without_it(
    line: Line, tmp_path_factory: pytest.TempPathFactory
) -> None:
    #  5 says it ── 6 quotes it ── 5 is undone: taken back where it was out ── 5 is hidden ── 6 is due elsewhere
    settings, server, topics = line.settings, line.server, Topics(line.settings)
    for rev, text in ((4, "It begins."), (5, PAGE), (6, CLEAN), (8, "another")):
        line.wiki.put(rev, text)
    after = of(6, CLEAN, prior=5, user="Another")
    after["prior_state"]["revision"]["rev_sha1"] = sha1_base36(PAGE)
    after["revision"]["comment"] = "out with it"
    after["meta"] |= {"uri": "https://en.wikipedia.org/wiki/P", "dt": rfc3339(AT_MS + HOLD_MS // 2)}
    after["revision"]["rev_dt"] = after["dt"] = after["meta"]["dt"]
    mismatch = edit(8, page=9)  # announces another text than there is
    unread = edit(5) | {"$schema": "/mediawiki/page/change/2.0.0"}
    unread["meta"] |= {"id": "unread"}
    await server.add(of(5, PAGE), mismatch, unread, after)
    await server.add(*canaries(3, AT_MS + HOLD_MS + 500))
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
    # From here on no step can be started: the topics are not as they should be.
    await compact_soon(settings, *(row.name for row in topics.table() if "compact" in row.cleanup))
    line.wiki.hide(5)
    await server.add(hide(5, at=HOLD_MS + 1000), hide(8, page=9, at=HOLD_MS + 1001))
    await until(lambda: clean(settings))
    await until(lambda: clean_files(settings, folders))
    await server.add(*canaries(4, AT_MS + 10 * HOLD_MS))
    for policy in ("live", "minute"):
        await until(lambda policy=policy: has(settings, topics.edits(policy), "out with it"))  # type: ignore[misc]
        doc = orjson.loads((await last(settings, topics.edits(policy), b"enwiki:7:6:0:release")).value)
        assert (doc["delta"], doc["delta_absent"]) == (None, "hidden")
        assert doc["content"]["plain_text"] == CLEAN
        page = orjson.loads((await last(settings, topics.pages(policy), b"enwiki:7")).value)
        assert page["change"]["revision"]["id"] == 6
    assert await clean(settings)
    letters = await read_all(settings, topics.deadletter)
    assert {header(letter, "reason") for letter in letters} >= {b"unknown_schema", b"sha1_mismatch"}


async def last(settings: Settings, topic: str, key: bytes) -> Any:
    return [record for record in await read_all(settings, topic) if record.key == key][-1]


async def out(settings: Settings, policy: str, wanted: set[str]) -> bool:
    last = {record.key: record.value for record in await read_all(settings, Topics(settings).edits(policy))}
    return all(last.get(f"enwiki:{each}:release".encode()) for each in wanted)


async def has_gone(settings: Settings, topic: str, key: bytes) -> bool:
    return any(record.key == key and record.value is None for record in await read_all(settings, topic))


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
