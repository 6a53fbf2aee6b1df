"""Erasure over the whole line: once it is done, no reader of any topic gets what was hidden."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from api_server import ApiServer
from conftest import MakeSettings, produce, read_all
from sse_server import SseServer, canaries
from test_erase import AT_MS, CULPRIT, SECRET, compact_soon, edit, hide

from processors.digest import sha1_base36
from schemas.event import rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams.kafka import Out, header
from streams.settings import Settings
from streams.step_processes import StepProcesses
from streams.topics import Topics

pytestmark = [pytest.mark.kafka]

PAGE = f"It begins. {SECRET} it said, by {CULPRIT}."
CLEAN = "It begins. Nobody is named."
HOLD_MS = 60_000


@pytest.fixture
async def wiki() -> AsyncIterator[ApiServer]:
    async with ApiServer() as server:
        yield server


def of(rev: int, text: str, **more: Any) -> dict[str, Any]:
    """An edit of page 7 that announces `text`."""
    doc = edit(rev, **more)
    doc["revision"] |= {"rev_sha1": sha1_base36(text), "rev_parent_id": rev - 1}
    return doc


async def test_what_was_hidden_is_in_no_topic_afterwards_and_the_edit_after_it_comes_out_without_it(
    make_settings: MakeSettings, wiki: ApiServer, tmp_path: Path
) -> None:
    async with SseServer().running() as server:
        settings = await make_settings(
            partitions=1, source=server.url, content=wiki.template, since="earliest", tick_seconds=0.1,
            erase_seconds=0.3, linger_seconds=0.05, requests_per_minute=100_000.0, replica_lag_seconds=0.1,
            # Time goes by canaries alone.
            quiet_seconds=3600.0, caught_up_seconds=3600.0, grace_seconds=0.0,
            policies=(Policy(name="minute", hold_seconds=HOLD_MS / 1000),),
        )  # fmt: skip
        topics = Topics(settings)
        for rev, text in ((4, "It begins."), (5, PAGE), (6, CLEAN), (8, "another")):
            wiki.put(rev, text)
        after = of(6, CLEAN, prior=5, user="Another")
        after["revision"]["comment"] = "out with it"
        after["meta"] |= {"uri": "https://en.wikipedia.org/wiki/P", "dt": rfc3339(AT_MS + HOLD_MS // 2)}
        after["revision"]["rev_dt"] = after["dt"] = after["meta"]["dt"]
        mismatch = edit(8)  # announces another text than there is
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
            assert await count(settings, topics.deadletter) >= 1
            # Not before: a step does not start on topics that are not as they should be.
            await compact_soon(settings, *(row.name for row in topics.table() if "compact" in row.cleanup))
            wiki.hide(5)
            await server.add(hide(5, at=HOLD_MS + 1000), hide(8, at=HOLD_MS + 1001))
            await until(lambda: clean(settings))
            await server.add(*canaries(2, AT_MS + 10 * HOLD_MS))
            await until(lambda: has(settings, topics.edits("minute"), "out with it"))
            assert await clean(settings)
        finally:
            await asyncio.to_thread(steps.stop)
            steps.end()
        out = [r for r in await read_all(settings, topics.edits("minute")) if r.key == b"enwiki:7:6:0:release"]
    doc = orjson.loads(out[-1].value)
    assert (doc["delta"], doc["delta_absent"]) == (None, "hidden")
    assert doc["content"]["plain_text"] == CLEAN
    letters = await read_all(settings, topics.deadletter)
    assert {header(letter, "reason") for letter in letters} >= {b"unknown_schema", b"sha1_mismatch"}


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


def fillers(settings: Settings) -> list[Out]:
    topics = Topics(settings)
    names = [topics.enriched, topics.content, topics.decisions, topics.deadletter, topics.publish_state]
    names += [topics.gate_state, topics.edits("minute"), topics.pages("minute")]
    # Tombstones of what never was: no step minds them.
    key = f"x:1:{time.time_ns()}".encode()
    return [Out(topic=name, key=key, value=None, partition=0) for name in names]
