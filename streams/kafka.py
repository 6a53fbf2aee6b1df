"""Kafka clients with the settings that were measured, and a send that refuses before it is too late.

Why each value: a request timeout shorter than a broker's outage sticks an idempotent producer for ever, and a
transaction timeout shorter than one lets the broker commit what was never finished. A batch that the broker rejects
for its size burns sequence numbers, so size is checked before `send`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.deadletter import DeadLetter
from streams.settings import Settings

REQUEST_TIMEOUT_MS = 120_000
TRANSACTION_TIMEOUT_MS = 300_000
MAX_REQUEST_BYTES = 30_000_000
# The client's lz4 is that of level 9: ten times slower than this, for twice the bytes (measured on events, decisions
# and states).
COMPRESSION = "zstd"
# What a record costs beside its key, value and headers: an upper bound of the v2 record batch header; and what zstd
# adds to bytes that it cannot press, 3 for each block of 128 KB (measured).
RECORD_OVERHEAD_BYTES = 512
UNPRESSED_SHARE = 8192


class RecordTooLarge(ValueError):
    """A record that its topic would reject. It was not sent; the producer is still good."""


class Out(NamedTuple):
    """One record to be sent. No timestamp: every topic stamps LogAppendTime, event time is in the record."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None = None
    headers: Sequence[tuple[str, bytes]] = ()

    @property
    def size_bytes(self) -> int:
        bare = len(self.key) + len(self.value or b"")
        for name, value in self.headers:
            bare += len(name) + len(value) + 10
        return bare + bare // UNPRESSED_SHARE + RECORD_OVERHEAD_BYTES


def header(record: Any, name: str) -> bytes | None:
    """The value of a record's first header of that name."""
    return next((value for key, value in record.headers if key == name), None)


def origin(record: Any) -> str:
    """Where a record of Kafka came from, as dead letters say it: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def letter_out(topic: str, letter: DeadLetter) -> Out:
    """A dead letter as a record."""
    return Out(topic=topic, key=letter.key, value=letter.payload, headers=letter.headers)


def producer(settings: Settings, *, transactional_id: str | None = None, **more: Any) -> AIOKafkaProducer:
    """An idempotent producer, or a transactional one if it has an id. It is not started."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 5,
        "compression_type": COMPRESSION,
        "max_batch_size": 262_144,
        "max_request_size": MAX_REQUEST_BYTES,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    if transactional_id is not None:
        options |= {"transactional_id": transactional_id, "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS}
    return AIOKafkaProducer(**(options | more))


def consumer(settings: Settings, *topics: str, group: str | None = None, **more: Any) -> AIOKafkaConsumer:
    """A consumer that reads what was committed and commits nothing by itself. It is not started."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "group_id": group,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 1000,
        "max_partition_fetch_bytes": 4_194_304,
    }
    if group is not None and settings.instance:
        options["group_instance_id"] = f"{group}.{settings.instance}"
    return AIOKafkaConsumer(*topics, **(options | more))


async def send(sender: AIOKafkaProducer, out: Out, limits: Mapping[str, int]) -> asyncio.Future[Any]:
    """Hand one record to the producer; the returned future resolves when the broker has it. Await it.

    Raises `RecordTooLarge` before anything is sent.
    """
    check_size(out, limits)
    future: asyncio.Future[Any] = await sender.send(
        out.topic, value=out.value, key=out.key, partition=out.partition, headers=list(out.headers)
    )
    return future


async def send_all(settings: Settings, outs: Sequence[Out]) -> None:
    """Write records with a producer of their own, in order per partition; returns when the broker has them."""
    sender = producer(settings)
    try:
        await sender.start()
        for future in [await send(sender, out, {}) for out in outs]:
            await future
    finally:
        await close_producer(sender)


async def close_producer(sender: AIOKafkaProducer, *, seconds: float = 2.0) -> None:
    """Stop a producer, and do not wait longer than that for what it still has to send: it may never go out.

    What is left to a transactional one cannot do harm: it was not committed, and the next owner fences it.
    """
    if not await _ends_well(sender.stop(), seconds):
        # The client's own `stop` waits for every batch, and when it is cancelled it leaves its task and connections.
        await _cancel(sender._sender.sender_task)
        await _ends_well(sender.client.close(), seconds)


async def close_consumer(reader: AIOKafkaConsumer, *, seconds: float = 2.0) -> None:
    """Stop a consumer and leave its group, and do not wait longer than that for a broker that is away."""
    if not await _ends_well(reader.stop(), seconds):
        if reader._fetcher is not None:
            await _ends_well(reader._fetcher.close(), seconds)
        await _ends_well(reader._client.close(), seconds)


async def _cancel(task: asyncio.Task[Any] | None) -> None:
    """End a task of the client. It waits for its own tasks when it is cancelled: each further time ends one of them."""
    for _ in range(10):
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


async def _ends_well(closing: Coroutine[Any, Any, None], seconds: float) -> bool:
    """Whether it returned in time. A task of its own, since the client lets its inner cancellations escape."""
    task = asyncio.create_task(closing)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
    return bool(done) and not task.cancelled() and task.exception() is None


def check_size(out: Out, limits: Mapping[str, int]) -> None:
    """Raises `RecordTooLarge`."""
    limit = limits.get(out.topic)
    if limit is not None and out.size_bytes > limit:
        raise RecordTooLarge(f"{out.size_bytes} bytes under key {out.key!r}; {out.topic} takes {limit}")


@asynccontextmanager
async def reading(settings: Settings, *, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer, started here and closed at the end. With a group it sees what that committed, and never joins it."""
    reader = consumer(settings) if group is None else consumer(settings, group=group, group_instance_id=None)
    try:
        # Started inside, since a start that fails leaves the client open.
        await reader.start()
        yield reader
    finally:
        await close_consumer(reader)


async def read_partition(
    settings: Settings, topic: str, partition: int, *, start: int | None = None, end: int | None = None
) -> list[Any]:
    """Every committed record of one partition from `start` (default: the first) to `end` (default: the last now)."""
    records: list[Any] = []
    async with reading(settings) as reader:
        tp = TopicPartition(topic, partition)
        reader.assign([tp])
        first = (await reader.beginning_offsets([tp]))[tp]
        last = (await reader.end_offsets([tp]))[tp]
        last = last if end is None else min(end, last)
        reader.seek(tp, first if start is None else max(start, first))
        while await reader.position(tp) < last:
            batch = await reader.getmany(tp, timeout_ms=1000)
            records.extend(record for record in batch.get(tp, ()) if record.offset < last)
        return records


async def read_batches(settings: Settings, topic: str, partition: int, start: int) -> AsyncIterator[list[Any]]:
    """The committed records of one partition from `start` to the last one now, in batches that are never empty."""
    async with reading(settings) as reader:
        tp = TopicPartition(topic, partition)
        reader.assign([tp])
        last = (await reader.end_offsets([tp]))[tp]
        reader.seek(tp, max(start, (await reader.beginning_offsets([tp]))[tp]))
        while await reader.position(tp) < last:
            batch = (await reader.getmany(tp, timeout_ms=1000, max_records=2000)).get(tp, ())
            if records := [record for record in batch if record.offset < last]:
                yield records


async def end_offset(settings: Settings, topic: str, partition: int) -> int:
    """The offset after the last committed record of one partition."""
    async with reading(settings) as reader:
        tp = TopicPartition(topic, partition)
        end: int = (await reader.end_offsets([tp]))[tp]
        return end


class _Rarely(logging.Filter):
    """One line of a kind per logger in `seconds`; the next one says how many were left out."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, str(record.msg)[:40])
        said, left_out = self._seen.get(kind, (0.0, 0))
        if record.created - said < self._seconds:
            self._seen[kind] = (said, left_out + 1)
            return False
        self._seen[kind] = (record.created, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} like it before)"
        return True


class _NotUnread(logging.Filter):
    """Leaves out that nobody read a future of the client: it keeps one per batch beside those that it hands out."""

    def filter(self, record: logging.LogRecord) -> bool:
        unread = record.getMessage().startswith("Future exception was never retrieved")
        return not (unread and record.exc_info and isinstance(record.exc_info[1], KafkaError))


_RARELY = _Rarely(10.0)
_NOT_UNREAD = _NotUnread()


def quiet_client_logs() -> None:
    """Rate-limit the Kafka client's loggers: one outage of half a minute made 12,000 lines of them.

    A filter sees only its own logger's records, so each of the client's loggers gets it. Call it as often as you like.
    """
    logging.getLogger("asyncio").addFilter(_NOT_UNREAD)
    for name in list(logging.root.manager.loggerDict):
        if name == "aiokafka" or name.startswith("aiokafka."):
            logging.getLogger(name).addFilter(_RARELY)
