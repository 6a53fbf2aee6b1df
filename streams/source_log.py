"""The one transactional writer of `sluice.source.v1`, and what it finds there when it starts.

Its transactional id is the same for every instance, so that to start one fences the one before: what the log says then
is final, and the last committed tick is where the source goes on. Any failure leaves open what was committed; the
answer is always to drop this object and start another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from processors.cursor import REWIND_MS
from processors.route import event_id_of_key, lenient_meta
from schemas.control import ENDPOINT, control_kind, decode_endpoint
from schemas.log import KIND_EVENT, KIND_SKELETON, KIND_TICK, InvalidRecord, Tick, decode_tick
from schemas.reasons import Step
from streams.failpoints import failpoint
from streams.kafka import Out, check_size, consumer, header, producer, reading
from streams.settings import Settings
from streams.topics import Topics, limits
from streams.transaction import send_batches

# The log is read back in pieces of this many records, until it covers what a rewind brings again and as much on top,
# since producers' clocks differ; and no further than this, per partition.
TAIL_RECORDS = 2000
MAX_TAIL_RECORDS = 20_000
OVERLAP_MS = 2 * REWIND_MS
LETTERS = 500
CLOSE_SECONDS = 1.0

log = logging.getLogger("sluice.source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """tick: the last one that was committed. event_ids: stream → those in the tail of the log, oldest first per
    partition. letters: event ids, else origins, of the newest dead letters. endpoint: a person's last choice, or "".
    """

    tick: Tick | None
    event_ids: Mapping[str, Sequence[str]]
    letters: Sequence[str] = ()
    endpoint: str = ""


class SourceLog:
    """The producer, and the reader of `sluice.control.v1`."""

    def __init__(self, settings: Settings) -> None:
        topics = Topics(settings)
        self._limits: Mapping[str, int] = limits(topics.table())
        self._producer: AIOKafkaProducer = producer(settings, transactional_id=topics.group(Step.SOURCE))
        self._control: AIOKafkaConsumer = consumer(settings)
        self._control_partition = TopicPartition(topics.control, 0)
        self.found = Found(tick=None, event_ids={})

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Fence whoever wrote before, then read what is there. Raises a `KafkaError`; then nothing is left open."""
        self = cls(settings)
        try:
            await self._producer.start()
            failpoint("source.fenced")
            self.found = await _find(settings)
            await self._control.start()
            self._control.assign([self._control_partition])
            first = (await self._control.beginning_offsets([self._control_partition]))[self._control_partition]
            wanted = self.found.tick.control_offset if self.found.tick is not None else 0
            self._control.seek(self._control_partition, max(first, wanted))
        except BaseException:
            await self.close()
            raise
        return self

    async def control(self) -> list[Any]:
        """The records of `sluice.control.v1` that have come since the last call."""
        batch = await self._control.getmany(self._control_partition, timeout_ms=0)
        return list(batch.get(self._control_partition, ()))

    async def commit(
        self, outs: Sequence[Out], *, offsets: Mapping[TopicPartition, int] | None = None, group: str = ""
    ) -> None:
        """Write all of it, or nothing, and with it how far `group` has read.

        Raises `RecordTooLarge` before anything is sent, and a `KafkaError`.
        """
        for out in outs:
            check_size(out, self._limits)
        failpoint("source.read")
        await self._producer.begin_transaction()
        # Who names no partition writes to a topic that has one.
        await send_batches(self._producer, (out._replace(partition=out.partition or 0) for out in outs))
        failpoint("source.sent")
        if offsets:
            await self._producer.send_offsets_to_transaction(dict(offsets), group)
        await self._producer.commit_transaction()
        failpoint("source.committed")

    async def close(self) -> None:
        """Never waits for what is still to be sent: after a failure it may never go out."""
        _, stopped = await asyncio.gather(_bounded(self._control.stop()), _bounded(self._producer.stop()))
        if not stopped:
            await _bounded(self._producer.client.close())


async def _find(settings: Settings) -> Found:
    topics = Topics(settings)
    partitions = [TopicPartition(topics.source, partition) for partition in range(settings.partitions)]
    letters, control = TopicPartition(topics.deadletter, 0), TopicPartition(topics.control, 0)
    async with reading(settings) as reader:
        everything = [*partitions, letters, control]
        reader.assign(everything)
        first, end = await reader.beginning_offsets(everything), await reader.end_offsets(everything)
        tick = await _last_tick(reader, partitions[0], first[partitions[0]], end[partitions[0]])
        ids: dict[str, list[str]] = {}
        for tp in partitions:
            for record in await _tail(reader, tp, first[tp], end[tp], tick) if tick is not None else ():
                if header(record, "kind") in {KIND_EVENT, KIND_SKELETON}:
                    stream = (header(record, "stream") or b"").decode()
                    ids.setdefault(stream, []).append(event_id_of_key(record.key))
        written = await _between(reader, letters, max(first[letters], end[letters] - LETTERS), end[letters])
        told = await _between(reader, control, first[control], end[control])
    return Found(
        tick=tick,
        event_ids=ids,
        letters=[_letter(record) for record in written if header(record, "step") == Step.SOURCE.encode()],
        endpoint=_endpoint(told),
    )


async def _last_tick(reader: AIOKafkaConsumer, tp: TopicPartition, first: int, end: int) -> Tick | None:
    """The last tick before `end`: nearly always it is in the first piece."""
    while end > first:
        start = max(first, end - TAIL_RECORDS)
        for record in reversed(await _between(reader, tp, start, end)):
            if header(record, "kind") == KIND_TICK:
                return decode_tick(record.value)
        end = start
    return None


async def _tail(reader: AIOKafkaConsumer, tp: TopicPartition, first: int, end: int, last: Tick) -> list[Any]:
    """The records of one partition that a rewind from `last` can bring again."""
    records: list[Any] = []
    low = max(first, end - MAX_TAIL_RECORDS)
    while end > low:
        start = max(low, end - TAIL_RECORDS)
        records = await _between(reader, tp, start, end) + records
        tick = next((record for record in records if header(record, "kind") == KIND_TICK), None)
        if tick is not None and _covers(decode_tick(tick.value), last):
            break
        end = start
    return records


def _covers(tick: Tick, last: Tick) -> bool:
    """Whether everything that a rewind from `last` can bring is behind `tick`, topic by topic."""
    then = {position.topic: position for position in tick.cursor}
    return all(
        then[position.topic].at_ms <= position.at_ms - OVERLAP_MS
        for position in last.cursor
        if position.next_offset >= 0 and position.topic in then and then[position.topic].next_offset >= 0
    )


async def _between(reader: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> list[Any]:
    records: list[Any] = []
    reader.seek(tp, start)
    while await reader.position(tp) < end:
        batch = await reader.getmany(tp, timeout_ms=1000)
        records += [record for record in batch.get(tp, ()) if record.offset < end]
    return records


def _letter(record: Any) -> str:
    meta = lenient_meta(record.value or b"")
    event_id = meta.event_id if meta is not None else (header(record, "erased") or b"").decode()
    return event_id or (header(record, "origin") or b"").decode()


def _endpoint(records: Sequence[Any]) -> str:
    for record in reversed(records):
        if record.value is not None and control_kind(record.value) == ENDPOINT:
            with contextlib.suppress(InvalidRecord):
                return decode_endpoint(record.value)
    return ""


async def _bounded(closing: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(closing, CLOSE_SECONDS)
        return True
    except TimeoutError:
        log.warning("a Kafka client did not close within %.0f s", CLOSE_SECONDS)
    except KafkaError as exc:
        log.warning("a Kafka client closed with %r", exc)
    return False
