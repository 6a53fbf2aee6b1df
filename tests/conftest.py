"""What every test may use: one real broker for the session, and topics of its own for each test.

`kafka` is a bootstrap address (SLUICE_KAFKA if set, else a broker started here). `settings` are settings with a topic
prefix of this test and its topics made; `make_settings(**changes)` gives more of them, with other prefixes.
`server` and `wiki` are what the line reads from, on loopback.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.record.memory_records import MemoryRecords
from api_server import ApiServer
from hypothesis.internal.conjecture import providers
from sse_server import SseServer
from xdist.scheduler import LoadScopeScheduling

from streams import cluster, sse
from streams.broker import Broker
from streams.kafka import Out, close_consumer, close_producer, consumer, producer, read_partition, send
from streams.settings import Settings, cache_folder
from streams.topics import Topics, limits

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so; what tests start, and interrupt, would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis also draws constants from whatever modules are imported by then, so that the same random state would give
# other histories in each process.
providers._get_local_constants = providers.Constants

MakeSettings = Callable[..., Awaitable[Settings]]


# Files whose tests share what one of them has made: they stay in one process.
TOGETHER = {"tests/test_kill_line.py": "tests/test_recording_line.py"}


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests run in one of the processes, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a real Kafka broker."""
    if given := os.environ.get("SLUICE_KAFKA"):
        yield given
        return
    with Broker(tmp_path_factory.mktemp("kafka"), cache=cache_folder(os.environ), fast_cleaner=True) as broker:
        yield broker.bootstrap


@pytest.fixture
async def make_settings(kafka: str, request: pytest.FixtureRequest) -> AsyncIterator[MakeSettings]:
    """`await make_settings(**changes)`: settings whose topics exist, under a prefix that no other test has.

    The topics go when the test ends. `topics=False` makes none.
    """
    made: list[Settings] = []

    async def make(*, topics: bool = True, **changes: Any) -> Settings:
        name = f"{request.node.nodeid} {os.getpid()} {len(made)}"
        prefix = "t" + hashlib.sha256(name.encode()).hexdigest()[:10]
        base = Settings(kafka=kafka, topic_prefix=prefix, partitions=3, assign="all", metrics_port=0)
        settings = base.with_(**changes)
        settings.check()
        made.append(settings)
        if topics:
            await cluster.create(settings)
        return settings

    yield make
    for settings in made:
        await cluster.delete(settings)


@pytest.fixture
async def settings(make_settings: MakeSettings) -> Settings:
    """Settings of this test alone: 3 partitions, this process owns all, its topics exist."""
    return await make_settings()


@pytest.fixture
async def server() -> AsyncIterator[SseServer]:
    """A source of events on loopback, which serves what a test adds."""
    async with SseServer().running() as running:
        yield running


@pytest.fixture
async def wiki() -> AsyncIterator[ApiServer]:
    """A wiki's APIs on loopback."""
    async with ApiServer() as running:
        yield running


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source in this process that is refused, or cut off, comes back at once."""
    monkeypatch.setattr(sse, "REFUSED_SECONDS", 0.01)
    monkeypatch.setattr(sse, "MAX_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(sse, "MAX_RETRY_AFTER_SECONDS", 0.05)


async def read_all(settings: Settings, topic: str) -> list[Any]:
    """Every committed record of `topic`, partition after partition, in the order of each log."""
    records: list[Any] = []
    for partition in range(_partitions(settings, topic)):
        records += await read_partition(settings, topic, partition)
    return records


async def all_readable(settings: Settings, seconds: float = 30) -> None:
    """Wait until no transaction is open on any topic: a commit is answered before its markers stand everywhere.

    A test that reads right after its step has ended may otherwise miss the last records of some partitions.
    """
    written, committed = consumer(settings, isolation_level="read_uncommitted"), consumer(settings)
    try:
        await written.start()
        await committed.start()
        made = await committed.topics()
        rows = [row for row in Topics(settings).table() if row.name in made]
        tps = [TopicPartition(row.name, n) for row in rows for n in range(row.partitions)]
        for reader in (written, committed):
            # Topics that a client does not read cost it a request each to find; nothing is fetched.
            reader.assign(tps)
            reader.pause(*tps)
        async with asyncio.timeout(seconds):
            while await committed.end_offsets(tps) != await written.end_offsets(tps):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
    finally:
        await close_consumer(written)
        await close_consumer(committed)


def in_log_files(folder: Path, *words: str) -> bool:
    """Whether a file of a partition has one of the words, also one that waits to be deleted. Batches are unpacked."""
    for path in folder.glob("*.log*"):
        try:
            batches = MemoryRecords(path.read_bytes())
        except FileNotFoundError:
            continue  # the cleaner was quicker
        while batches.has_next():
            for record in batches.next_batch():
                said = b"\n".join([record.key or b"", record.value or b"", *(value for _, value in record.headers)])
                if any(word.encode() in said for word in words):
                    return True
    return False


def sent_once(records: Iterable[Any]) -> bool:
    """Whether nothing was sent twice under one key, but where a tombstone took back what was there before."""
    out: set[bytes] = set()
    for record in records:
        if record.value is None:
            out.discard(record.key)
        elif record.key in out:
            return False
        else:
            out.add(record.key)
    return True


async def produce(settings: Settings, outs: Iterable[Out]) -> None:
    """Write records, in order per partition; returns when the broker has them."""
    sender = producer(settings)
    try:
        await sender.start()
        bounds = limits(Topics(settings).table())
        for future in [await send(sender, out, bounds) for out in outs]:
            await future
    finally:
        await close_producer(sender)


def shared_data() -> Path:
    """The folder of recorded data beside the repository; the test is skipped where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no recorded data beside the repository")
    return folder


def _partitions(settings: Settings, topic: str) -> int:
    return {row.name: row.partitions for row in Topics(settings).table()}[topic]
