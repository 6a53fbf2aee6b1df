"""The source step on a real Kafka, against a server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaError
from conftest import MakeSettings, all_readable, produce, read_all, shared_data
from sse_server import Fault, Served, SseServer, canaries, canary, page_change, recent_change, tags_change

from processors.digest import page_partition
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, Canary, decode_event
from schemas.log import Policy, Tick, decode_policies, decode_tick
from schemas.policy_file import read_policy_file
from schemas.reasons import SetAside, Step
from streams import clock, cluster, metrics, source, source_log
from streams.broker import Broker
from streams.clock import now_ms
from streams.kafka import Out, header
from streams.settings import InvalidSetting, Settings, cache_folder, since_ms
from streams.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("haste")]

SINCE = "2026-11-01T00:00:00Z"
AT_MS = 1_795_314_219_671


@pytest.fixture
async def at(make_settings: MakeSettings, server: SseServer) -> Settings:
    """Settings of this test, with the server as its source and short ticks."""
    return await make_settings(source=server.url, since=SINCE, tick_seconds=0.05, recentchange="all")


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """The step; asked to stop at the end, and held to end by itself. Then all that it committed can be read."""
    stop = asyncio.Event()
    task = asyncio.create_task(source.run(settings, stop))
    try:
        yield task
        stop.set()
        await asyncio.wait_for(task, 60)
        await all_readable(settings)
    finally:
        task.cancel()
        await asyncio.wait({task})


class Log:
    """What a reader of committed records sees now."""

    def __init__(self, records: list[Any]) -> None:
        self.records = records
        self.events = [r for r in records if header(r, "kind") == b"event"]
        self.ticks = [r for r in records if header(r, "kind") == b"tick"]
        self.control = [r for r in records if header(r, "kind") == b"control"]

    @property
    def ids(self) -> list[str]:
        """Event ids, once for each record."""
        return [decode_event(r.value).meta.event_id for r in self.events]

    def last_tick(self) -> Tick | None:
        ticks = [decode_tick(r.value) for r in self.ticks if r.partition == 0]
        return ticks[-1] if ticks else None


async def read(settings: Settings) -> Log:
    return Log(await read_all(settings, Topics(settings).source))


async def until(settings: Settings, enough: Callable[[Log], bool], seconds: float = 60) -> Log:
    """Read the log until it has what is wanted."""
    async with asyncio.timeout(seconds):
        while True:
            if enough(log := await read(settings)):
                return log
            await asyncio.sleep(0.05)


async def letters(settings: Settings) -> list[Any]:
    return await read_all(settings, Topics(settings).deadletter)


def id_of(doc: dict[str, Any]) -> str:
    return str(doc["meta"]["id"])


def edits(count: int, begin: int = 0) -> list[dict[str, Any]]:
    return [page_change(n, AT_MS + n, page=n % 7) for n in range(begin, begin + count)]


@pytest.mark.parametrize("cut_after", [0, 100])
async def test_a_recording_is_written_once_unchanged_in_order_per_page_with_ticks_behind_it(
    make_settings: MakeSettings, cut_after: int
) -> None:
    packed = shared_data() / "recording" / "stream.sse.gz"
    sent = [line[5:].strip() for line in gzip.decompress(packed.read_bytes()).splitlines() if line.startswith(b"data:")]
    events = [decode_event(data) for data in sent]
    kept = [e for e in events if not isinstance(e, Canary)]
    logs = sum(e.meta.stream == RECENT_CHANGE and getattr(e, "is_log", False) for e in kept)
    async with SseServer().running() as server:
        settings = await make_settings(source=server.url, since=SINCE, tick_seconds=0.1, recentchange="all")
        for data, event in zip(sent, events, strict=True):
            server.messages.append(served(event.meta, data))
        server.faults = [Fault(after=cut_after, how="rst")] * (len(sent) // cut_after if cut_after else 0)
        async with running(settings):
            log = await until(settings, lambda log: len(log.events) >= len(kept) + logs * (settings.partitions - 1))
    assert not server.faults
    assert set(log.ids) == {e.meta.event_id for e in kept}
    assert len(kept) == 2870
    assert len(log.events) == len(kept) + logs * (settings.partitions - 1)
    assert {r.value for r in log.events} == {d for d, e in zip(sent, events, strict=True) if not isinstance(e, Canary)}
    order = {e.meta.event_id: n for n, e in enumerate(kept)}
    places = [(r.partition, order[each]) for r, each in zip(log.events, log.ids, strict=True)]
    assert places == sorted(places)
    tick = log.last_tick()
    assert tick is not None
    last = {e.meta.topic: e.meta for e in events}
    spoken = {p.topic: (p.next_offset, p.last_id) for p in tick.cursor if p.next_offset >= 0}
    assert spoken == {t: (m.offset + 1, m.event_id) for t, m in last.items()}
    # The last canaries, which came for each stream and datacentre, are what it is heard until.
    assert set(tick.heard_ms) == {m.stream for m in last.values()}
    assert all(max(m.at_ms for m in last.values()) - at_ms < 35_000 for at_ms in tick.heard_ms.values())


def served(meta: Any, data: bytes) -> Any:
    return Served(topic=meta.topic, offset=meta.offset, at_ms=meta.at_ms, data=data)


async def test_a_record_has_its_kind_stream_and_time_and_is_on_the_partition_of_its_page(
    at: Settings, server: SseServer
) -> None:
    await server.add(page_change(5, AT_MS, page=41), tags_change(5, AT_MS + 1, page=41))
    async with running(at):
        log = await until(at, lambda log: len(log.events) == 2)
    assert {r.partition for r in log.events} == {page_partition("enwiki", 41, at.partitions)}
    assert [r.key for r in log.events] == [
        f"enwiki:41:5:{PAGE_CHANGE}-eqiad-5".encode(),
        f"enwiki:41:5:{TAGS_CHANGE}-eqiad-5".encode(),
    ]
    assert [(header(r, "stream"), header(r, "at_ms")) for r in log.events] == [
        (PAGE_CHANGE.encode(), str(AT_MS).encode()),
        (TAGS_CHANGE.encode(), str(AT_MS + 1).encode()),
    ]


async def test_a_patrolled_edit_lies_beside_its_page_and_everywhere_where_that_is_not_known_and_a_rule_asks(
    make_settings: MakeSettings, server: SseServer
) -> None:
    seen = read_policy_file('name = "seen"\n[[rule]]\nhold = 60\nrequire = "patrolled"\n')
    settings = await make_settings(source=server.url, since=SINCE, tick_seconds=0.05, policies=(seen,))
    for n in range(1, 6):
        await server.add(recent_change(n, AT_MS + n) | {"patrolled": True}, page_change(n, AT_MS + n, page=n))
    await server.add(recent_change(99, AT_MS + 99) | {"patrolled": True})
    async with running(settings):
        log = await until(settings, lambda log: sum(b":99:" in r.key for r in log.events) >= 3)
    where: dict[bytes, set[int]] = {}
    for r in log.events:
        where.setdefault(r.key.split(b":")[2], set()).add(r.partition)
    assert where.pop(b"99") == {0, 1, 2}
    assert {rev: len(partitions) for rev, partitions in where.items()} == {b"%d" % n: 1 for n in range(1, 6)}
    assert len(set().union(*where.values())) > 1


async def test_a_log_action_is_once_on_every_partition_and_other_recent_changes_are_on_one(
    at: Settings, server: SseServer
) -> None:
    await server.add(recent_change(1, AT_MS, kind="log"), recent_change(2, AT_MS), recent_change(3, AT_MS))
    async with running(at):
        log = await until(at, lambda log: len(log.events) == at.partitions + 2)
    assert Counter(log.ids) == {
        f"{RECENT_CHANGE}-eqiad-1": at.partitions,
        f"{RECENT_CHANGE}-eqiad-2": 1,
        f"{RECENT_CHANGE}-eqiad-3": 1,
    }
    logs = [r for r in log.events if r.key == f"enwiki:::{RECENT_CHANGE}-eqiad-1".encode()]
    assert sorted(r.partition for r in logs) == list(range(at.partitions))


async def test_canaries_and_other_wikis_are_not_written_but_move_time_and_cursor(
    make_settings: MakeSettings, server: SseServer
) -> None:
    settings = await make_settings(source=server.url, since=SINCE, tick_seconds=0.05, wikis=("enwiki",))
    await server.add(*canaries(1, AT_MS), page_change(1, AT_MS + 5, wiki="frwiki"), page_change(2, AT_MS + 3))
    await server.add(canary(2, AT_MS + 9, datacentre="codfw"))
    async with running(settings):
        await until(
            settings, lambda log: (t := log.last_tick()) is not None and t.heard_ms.get(PAGE_CHANGE) == AT_MS + 5
        )
    log = await read(settings)
    assert log.ids == [f"{PAGE_CHANGE}-eqiad-2"]
    tick = log.last_tick()
    assert tick is not None
    assert tick.heard_ms[TAGS_CHANGE] == AT_MS
    assert {p.topic: p.next_offset for p in tick.cursor}[f"eqiad.{PAGE_CHANGE}"] == 3


async def test_each_transaction_ends_with_a_tick_on_every_partition_also_when_nothing_came(
    at: Settings, server: SseServer
) -> None:
    async with running(at):
        await until(at, lambda log: len(log.ticks) >= 5 * at.partitions)
        await server.add(*edits(30))
        await until(at, lambda log: len(log.events) == 30)
    log = await read(at)
    numbers = {p: [decode_tick(r.value).number for r in log.ticks if r.partition == p] for p in range(at.partitions)}
    assert numbers[0] == list(range(1, len(numbers[0]) + 1))
    assert all(each == numbers[0] for each in numbers.values())
    assert [r.key for r in log.ticks if r.partition == 0] == [f"tick:{n}".encode() for n in numbers[0]]
    assert all(r.value == same.value for r, same in zip_by_number(log))
    ends = {p: [r for r in log.records if r.partition == p][-1] for p in range(at.partitions)}
    assert all(header(r, "kind") == b"tick" for r in ends.values())


def zip_by_number(log: Log) -> list[tuple[Any, Any]]:
    first = {r.key: r for r in log.ticks if r.partition == 0}
    return [(r, first[r.key]) for r in log.ticks]


async def test_a_repeat_of_an_event_is_dropped_also_after_a_restart(at: Settings, server: SseServer) -> None:
    docs = edits(5)
    await server.add(*docs, docs[1], docs[0], docs[1])
    async with running(at):
        await until(at, lambda log: len(log.events) == 5 and offset_of(log) == 8)
    await server.add(docs[3], *edits(1, 5))
    async with running(at):
        await until(at, lambda log: offset_of(log) == 10)
    assert Counter((await read(at)).ids) == Counter(map(id_of, edits(6)))


def offset_of(log: Log, topic: str = f"eqiad.{PAGE_CHANGE}") -> int:
    tick = log.last_tick()
    return next((p.next_offset for p in tick.cursor if p.topic == topic), -1) if tick is not None else -1


async def test_a_restart_goes_on_at_the_committed_offset_and_with_the_next_tick(
    at: Settings, server: SseServer
) -> None:
    await server.add(*edits(10))
    async with running(at):
        await until(at, lambda log: len(log.events) == 10)
    before = (await read(at)).last_tick()
    await server.add(*edits(10, 10))
    async with running(at):
        await until(at, lambda log: len(log.events) == 20)
    assert before is not None
    entries = {e["topic"]: e for e in orjson.loads(server.requests[-1]["last-event-id"])}
    assert entries[f"eqiad.{PAGE_CHANGE}"]["offset"] == 9  # the last one, to be known by its id
    assert "timestamp" in entries[f"codfw.{PAGE_CHANGE}"]
    numbers = [decode_tick(r.value).number for r in (await read(at)).ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > before.number


async def test_whatever_the_connection_suffers_every_message_is_in_the_log_once(
    at: Settings, server: SseServer
) -> None:
    faults = [
        Fault(after=3, how="torn"),
        Fault(after=2, how="rst"),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(after=4, how="eof"),
        Fault(status=503),
        Fault(after=1, how="error"),
        Fault(after=2, how="torn-rst"),
        Fault(after=1, how="stall"),
    ]
    server.faults = list(faults)
    docs = edits(40)
    await server.add(*docs[:20])
    await server.add(b'{"meta": {"id": "bro', topic=f"eqiad.{PAGE_CHANGE}")
    await server.add({k: v for k, v in page_change(900, AT_MS).items() if k != "wiki_id"})
    await server.add(page_change(901, AT_MS) | {"$schema": "/mediawiki/page/change/2.0.0"})
    await server.add(page_change(902, AT_MS) | {"junk": "x" * 20_000_000})
    await server.add(b'{"not": "utf-8: \xff"}', topic=f"eqiad.{PAGE_CHANGE}")
    await server.add(*docs[20:])
    bad = {m.data for m in server.messages} - {m.data for m in server.messages if decodes(m.data)}
    async with running(at.with_(idle_seconds=0.5)):
        log = await until(at, lambda log: len(log.events) >= 40)
    assert Counter(log.ids) == Counter(map(id_of, docs))
    assert [r.value for r in sorted(log.events, key=lambda r: int(header(r, "at_ms") or b""))] == [
        m.data for m in server.messages if decodes(m.data)
    ]
    aside = await letters(at)
    assert {r.value for r in aside} == bad
    assert len(aside) == 5
    assert sorted(header(r, "reason") or b"" for r in aside) == sorted(
        reason.encode()
        for reason in (
            SetAside.NOT_JSON,
            SetAside.MISSING_FIELD,
            SetAside.UNKNOWN_SCHEMA,
            SetAside.TOO_LARGE,
            SetAside.NOT_UTF8,
        )
    )
    assert {r.key for r in aside} == {f"source:sse:{hashlib.sha256(data).hexdigest()}".encode() for data in bad}


def decodes(data: bytes) -> bool:
    if len(data) > 8_000_000:
        return False
    try:
        decode_event(data)
    except ValueError:
        return False
    return True


async def test_killed_in_the_middle_and_started_again_it_neither_loses_nor_doubles(
    at: Settings, server: SseServer
) -> None:
    fed: list[dict[str, Any]] = []

    async def feed() -> None:
        while True:
            docs = edits(5, len(fed))
            fed.extend(docs)
            await server.add(*docs)
            await asyncio.sleep(0.005)

    feeding = asyncio.create_task(feed())
    seen = 0
    for kill in (True, True, True, False):
        child = start(at)
        try:
            log = await until(at, lambda log, seen=seen: len(log.events) > seen)  # type: ignore[misc]
            seen = len(log.events)
            if not kill:
                feeding.cancel()
                log = await until(at, lambda log: len(set(log.ids)) == len(fed))
        finally:
            child.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            code = await asyncio.to_thread(child.wait, 60)
    assert code == 0
    assert Counter(log.ids) == Counter(map(id_of, fed))
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))
    heard = [decode_tick(r.value).heard_ms for r in log.ticks if r.partition == 0]
    for before, after in pairwise(heard):
        assert all(after[stream] >= at_ms for stream, at_ms in before.items())


RUN = """
import asyncio, os, signal, sys
from streams import source
from streams.settings import Settings
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await source.run(Settings.from_env(os.environ), stop)
    except source.Fenced:
        sys.exit(3)
asyncio.run(main())
"""


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """The step as a process of its own."""
    env = {
        name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
    } | {
        "SLUICE_KAFKA": settings.kafka,
        "SLUICE_TOPIC_PREFIX": settings.topic_prefix,
        "SLUICE_PARTITIONS": str(settings.partitions),
        "SLUICE_SOURCE": settings.source,
        "SLUICE_SINCE": settings.since,
        "SLUICE_TICK_SECONDS": str(settings.tick_seconds),
        "SLUICE_RECENTCHANGE": settings.recentchange,
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=Path(__file__).parents[1], env=env)


async def test_a_second_instance_takes_over_and_the_first_ends_as_fenced(at: Settings, server: SseServer) -> None:
    await server.add(*edits(20))
    stop = asyncio.Event()
    first = asyncio.create_task(source.run(at, stop))
    try:
        await until(at, lambda log: len(log.events) == 20)
        async with running(at) as second:
            with pytest.raises(source.Fenced):
                await asyncio.wait_for(first, 60)
            await server.add(*edits(20, 20))
            log = await until(at, lambda log: len(log.events) >= 40)
            assert not second.done()
    finally:
        stop.set()
        first.cancel()
        await asyncio.wait({first})
    assert Counter(log.ids) == Counter(map(id_of, edits(40)))
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_policies_are_written_to_every_partition_before_any_event_and_again_only_when_they_change(
    at: Settings, server: SseServer
) -> None:
    await server.add(*edits(5))
    for _ in range(2):
        async with running(at):
            await until(at, lambda log: len(log.events) == 5)
    log = await read(at)
    assert sorted(r.partition for r in log.control) == list(range(at.partitions))
    assert all(decode_policies(r.value) == at.rules for r in log.control)
    for partition in range(at.partitions):
        assert header(next(r for r in log.records if r.partition == partition), "kind") == b"control"
    changed = at.with_(policies=(Policy(name="slow", hold_seconds=7200),))
    await server.add(*edits(1, 5))
    async with running(changed):
        await until(at, lambda log: len(log.events) == 6)
    log = await read(at)
    assert len(log.control) == 2 * at.partitions
    assert len({r.key for r in log.control}) == 2
    on_first = [r for r in log.control if r.partition == 0]
    assert decode_policies(on_first[-1].value) == changed.rules


async def test_control_records_of_others_are_copied_once_to_every_partition(at: Settings, server: SseServer) -> None:
    topics = Topics(at)
    await produce(at, [Out(topic=topics.control, key=b"a", value=b'{"kind":"fact"}')])
    async with running(at):
        await until(at, lambda log: len(log.control) == 2 * at.partitions)
        await produce(at, [Out(topic=topics.control, key=b"a", value=b'{"kind":"fact","n":2}')])
        await until(at, lambda log: len(log.control) == 3 * at.partitions)
    async with running(at):
        ticks = len((await read(at)).ticks)
        log = await until(at, lambda log: len(log.ticks) > ticks + 3 * at.partitions)
    facts = [r for r in log.control if b"fact" in r.value]
    assert Counter((r.key, r.value) for r in facts) == {
        (b"control:0:a", b'{"kind":"fact"}'): at.partitions,
        (b"control:1:a", b'{"kind":"fact","n":2}'): at.partitions,
    }
    tick = log.last_tick()
    assert tick is not None
    assert tick.control_offset == 2


async def test_live_and_caught_up_a_quiet_stream_is_heard_until_shortly_before_now(
    make_settings: MakeSettings, server: SseServer
) -> None:
    settings = await make_settings(
        source=server.url, tick_seconds=0.1, quiet_seconds=3.0, caught_up_seconds=1.0, idle_seconds=30.0
    )
    async with running(settings):
        await until(settings, lambda log: bool(log.ticks))
        began = now_ms()
        await server.add(*canaries(1, began))

        async def speak() -> None:
            for n in range(2, 1000):
                await server.add(page_change(n, now_ms()))
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        try:
            log = await until(settings, lambda log: heard(log, TAGS_CHANGE) > began)
        finally:
            speaking.cancel()
    assert heard(log, TAGS_CHANGE) < now_ms() - 2900
    assert metrics.HEARD_UNTIL.labels(TAGS_CHANGE)._value.get() > began / 1000


def heard(log: Log, stream: str) -> int:
    tick = log.last_tick()
    return tick.heard_ms.get(stream, -1) if tick is not None else -1


async def test_heard_until_stands_while_the_source_is_cut_and_ticks_go_on(
    make_settings: MakeSettings,
) -> None:
    async with SseServer().running() as server:
        settings = await make_settings(source=server.url, since=SINCE, tick_seconds=0.05, quiet_seconds=0.5)
        await server.add(*canaries(1, AT_MS))
        async with running(settings):
            await until(settings, lambda log: heard(log, TAGS_CHANGE) == AT_MS)
            server.faults = [Fault(status=503)] * 1000
            server.cut()
            before = len((await read(settings)).ticks)
            log = await until(settings, lambda log: len(log.ticks) > before + 15 * settings.partitions)
    tick = log.last_tick()
    assert tick is not None
    assert set(tick.heard_ms.values()) == {AT_MS}


async def test_what_came_before_a_stop_is_committed_and_the_step_ends_within_five_seconds(
    make_settings: MakeSettings, server: SseServer
) -> None:
    settings = await make_settings(source=server.url, since=SINCE, tick_seconds=120.0)
    stop = asyncio.Event()
    task = asyncio.create_task(source.run(settings, stop))
    try:
        await until(settings, lambda log: bool(log.ticks))
        await server.add(*edits(50))
        await server.until_stuck()
        began = time.monotonic()
        stop.set()
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert time.monotonic() - began < 5
    log = await until(settings, lambda log: len(set(log.ids)) == 50)
    assert Counter(log.ids) == Counter(map(id_of, edits(50)))


async def test_a_backlog_is_committed_in_bounded_transactions_before_the_tick_is_due(
    make_settings: MakeSettings, server: SseServer
) -> None:
    settings = await make_settings(source=server.url, since=SINCE, tick_seconds=120.0)
    docs = edits(4500)
    for doc in docs:
        server._append(doc, "")
    async with running(settings):
        log = await until(settings, lambda log: len(log.events) >= 3990, seconds=100)
        assert len(log.events) <= 4000
    log = await read(settings)
    assert Counter(log.ids) == Counter(map(id_of, docs[: len(log.events)]))
    per_tick = Counter[int]()
    for partition in range(settings.partitions):
        number = 0
        for record in [r for r in log.records if r.partition == partition]:
            number += header(record, "kind") == b"tick"
            per_tick[number] += header(record, "kind") == b"event"
    assert max(per_tick.values()) <= 2000


async def test_dead_letters_and_records_are_counted_after_their_commit(at: Settings, server: SseServer) -> None:
    def count(outcome: str) -> float:
        return metrics.RECORDS.labels(Step.SOURCE, outcome)._value.get()

    before = {outcome: count(outcome) for outcome in metrics.OUTCOMES}
    docs = edits(3)
    await server.add(*docs, docs[0], canary(1, AT_MS), page_change(9, AT_MS, wiki="frwiki"))
    await server.add(page_change(901, AT_MS) | {"$schema": "/mediawiki/page/change/2.0.0"})
    settings = at.with_(wikis=("enwiki",))
    async with running(settings):
        await until(at, lambda log: offset_of(log) == 7)
    counted = {outcome: count(outcome) - before[outcome] for outcome in metrics.OUTCOMES}
    assert counted == {"in": 7, "out": 3, "repeat": 1, "canary": 1, "other_wiki": 1, "not_needed": 0, "reconciled": 0}


@pytest.mark.parametrize(
    ("text", "since"),
    [("", 1_000_000_000), ("earliest", 0), ("90s", 999_910_000), ("2h", 992_800_000), ("7d", 395_200_000),
     ("1970-01-02T00:00:00Z", 86_400_000)],
)  # fmt: skip
def test_a_first_start_begins_now_at_a_time_a_while_ago_or_at_the_earliest(text: str, since: int) -> None:
    assert since_ms(Settings(since=text), 1_000_000_000) == since


@pytest.mark.parametrize("text", ["yesterday", "h", "-2h", "2w", "٣h", "2026-13-01"])
def test_a_beginning_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="SLUICE_SINCE"):
        since_ms(Settings(since=text), 0)


async def test_a_log_that_has_an_end_goes_on_there_whatever_since_says(at: Settings, server: SseServer) -> None:
    await server.add(*edits(3))
    async with running(at):
        await until(at, lambda log: len(log.events) == 3)
    await server.add(*edits(3, 3))
    async with running(at.with_(since="earliest")):
        log = await until(at, lambda log: len(log.events) >= 6)
    assert Counter(log.ids) == Counter(map(id_of, edits(6)))
    assert "last-event-id" in server.requests[-1]


def test_a_clock_that_is_set_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = clock.Steps()
    assert not steps.stepped()
    real = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: real() - 7000)
    assert steps.stepped()
    assert not steps.stepped()


async def test_a_wrong_setting_is_refused_before_anybody_is_asked() -> None:
    stop = asyncio.Event()
    with pytest.raises(InvalidSetting, match="SLUICE_CONTACT"):
        await source.run(Settings(), stop)
    with pytest.raises(InvalidSetting, match="SLUICE_SINCE"):
        await source.run(Settings(source="http://127.0.0.1:1", since="yesterday"), stop)


async def test_the_last_tick_is_found_however_far_back_aborted_transactions_have_pushed_it(
    at: Settings, server: SseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.add(*edits(3))
    async with running(at):
        await until(at, lambda log: offset_of(log) == 3)
    monkeypatch.setattr(source_log, "TAIL_RECORDS", 1)  # the commit marker: no tick is in the tail
    writer = await source_log.SourceLog.open(at)
    await writer.close()
    before = (await read(at)).last_tick()  # now that the writer before it is fenced
    assert before is not None
    assert writer.found.tick == before
    # And so are the events that a rewind would bring again.
    assert {each for ids in writer.found.event_ids.values() for each in ids} == set(map(id_of, edits(3)))


@pytest.mark.chaos
async def test_a_broker_that_is_killed_and_comes_back_costs_neither_events_nor_the_step(
    tmp_path: Path, server: SseServer
) -> None:
    broker = Broker(tmp_path, cache=cache_folder(os.environ), fast_cleaner=True)
    await asyncio.to_thread(broker.start)
    try:
        settings = Settings(
            kafka=broker.bootstrap, partitions=3, source=server.url, since=SINCE, tick_seconds=0.05, metrics_port=0
        )
        await cluster.create(settings)
        await server.add(*edits(100))
        async with running(settings) as step:
            await until(settings, lambda log: len(log.events) >= 100)
            await asyncio.to_thread(broker.kill)
            await server.add(*edits(100, 100))
            await asyncio.to_thread(broker.start)
            log = await until(settings, lambda log: len(set(log.ids)) == 200, seconds=120)
            assert not step.done()
        log = await read(settings)
    finally:
        await asyncio.to_thread(broker.stop)
    assert Counter(log.ids) == Counter(map(id_of, edits(200)))
    numbers = [decode_tick(r.value).number for r in log.ticks if r.partition == 0]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_transaction_of_which_one_record_is_refused_is_not_committed(at: Settings) -> None:
    topic = Topics(at).source
    writer = await source_log.SourceLog.open(at)
    try:
        writer._limits = {}  # as if the broker's limit were lower than the table says
        big = Random(1).randbytes(22_000_000)
        outs = [Out(topic=topic, key=b"a", value=value, partition=0) for value in (b"1", big, b"3")]
        with pytest.raises(KafkaError):
            await writer.commit(outs)
    finally:
        await writer.close()
    second = await source_log.SourceLog.open(at)
    await second.commit([Out(topic=topic, key=b"b", value=b"4", partition=0)])
    await second.close()
    async with asyncio.timeout(30):
        while not (found := await read_all(at, topic)):  # noqa: ASYNC110 - a topic tells nobody
            await asyncio.sleep(0.05)
    assert [record.value for record in found] == [b"4"]
