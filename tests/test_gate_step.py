"""The gate step on a real Kafka: what the log says is decided once, across restarts, and bad records are set aside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from conftest import all_readable, produce, read_all

from schemas.decision import decode_decisions
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.log import Policies, Policy, Tick, encode_policies, encode_tick
from streams import gate
from streams.kafka import Out, header
from streams.settings import Settings
from streams.topics import Topics

pytestmark = pytest.mark.kafka

EPOCH = 1_800_000_000_000
RULES = Policies(policies=(Policy(name="live", hold_seconds=0), Policy(name="fast", hold_seconds=300)))


def record(settings: Settings, kind: str, value: bytes, *, partition: int = 0) -> Out:
    return Out(
        topic=Topics(settings).source, key=b"any", value=value, partition=partition, headers=[("kind", kind.encode())]
    )


def control(settings: Settings) -> Out:
    return record(settings, "control", encode_policies(RULES))


def tick(settings: Settings, number: int, at: float) -> Out:
    heard = dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE), EPOCH + round(at * 1000))
    return record(settings, "tick", encode_tick(Tick(number=number, heard_ms=heard, cursor=())))


def edit(settings: Settings, rev: int, at: float, *, sha1: str | None = None, user: str = "Ada", page: int = 7) -> Out:
    dt = rfc3339(EPOCH + round(at * 1000))
    doc = {
        "meta": {"id": f"event-{rev}", "stream": PAGE_CHANGE, "domain": "en.wikipedia.org", "dt": dt},
        "page_change_kind": "edit",
        "dt": dt,
        "wiki_id": "enwiki",
        "page": {"page_id": page, "page_title": "Loch_Ness", "namespace_id": 0},
        "revision": {
            "rev_id": rev,
            "rev_dt": dt,
            "rev_sha1": sha1 or f"{rev:031}",
            "editor": {"user_text": user},
        },
    }
    return record(settings, "event", orjson.dumps(doc))


async def run_until(settings: Settings, done: Callable[[], Awaitable[bool]]) -> None:
    """Run the gate until `done` says so; a gate that ends by itself fails the test."""
    stop = asyncio.Event()
    task = asyncio.create_task(gate.run(settings, stop))
    try:
        async with asyncio.timeout(60):
            while not await done():
                assert not task.done(), task.result()
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await task
    await all_readable(settings)


async def decided(settings: Settings) -> list[tuple[int, str, str]]:
    records = await read_all(settings, Topics(settings).decisions)
    return [(d.rev_id, d.policy, d.state.value) for r in records for d in decode_decisions(r.value)]


async def test_decisions_follow_the_log_and_go_on_where_a_former_run_stopped(settings):
    await produce(settings, [control(settings), edit(settings, 1, 0), edit(settings, 2, 10, user="Vandal")])

    async def two_live() -> bool:
        return len(await decided(settings)) >= 2

    await run_until(settings, two_live)
    await produce(settings, [edit(settings, 3, 20, sha1=f"{1:031}"), tick(settings, 1, 400)])

    async def all_decided() -> bool:
        return len(await decided(settings)) >= 7

    await run_until(settings, all_decided)
    assert await decided(settings) == [
        (1, "live", "released"),
        (2, "live", "released"),
        (2, "live", "retracted"),
        (3, "live", "released"),
        (2, "fast", "withheld"),
        (1, "fast", "released"),
        (3, "fast", "released"),
    ]


async def test_what_the_gate_cannot_read_is_set_aside_with_bytes_and_origin_and_the_line_goes_on(settings):
    bad = record(settings, "event", b'{"meta": "no object"}')
    await produce(settings, [control(settings), bad, record(settings, "weather", b"{}"), edit(settings, 1, 0)])

    async def one() -> bool:
        # A commit is answered before its markers stand on both topics.
        letters = await read_all(settings, Topics(settings).deadletter)
        return len(await decided(settings)) >= 1 and len(letters) >= 2

    await run_until(settings, one)
    letters = await read_all(settings, Topics(settings).deadletter)
    assert [(r.value, header(r, "step"), header(r, "reason")) for r in letters] == [
        (b'{"meta": "no object"}', b"gate", b"wrong_type"),
        (b"{}", b"gate", b"wrong_record"),
    ]
    assert header(letters[0], "origin") == f"{Topics(settings).source}/0/1".encode()


async def test_a_page_that_is_forgotten_leaves_a_tombstone_in_the_state(settings):
    rules = Policies(policies=(Policy(name="live", hold_seconds=0),), horizon_seconds=10)
    await produce(
        settings,
        [record(settings, "control", encode_policies(rules)), edit(settings, 1, 0), tick(settings, 1, 100)],
    )

    async def gone() -> bool:
        states = await read_all(settings, Topics(settings).gate_state)
        return any(state.key == b"enwiki:7" and state.value is None for state in states)

    await run_until(settings, gone)
