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

from processors.route import event_id_of_key
from schemas.log import KIND_EVENT, KIND_TICK, Tick, decode_tick
from schemas.reasons import Step
from streams.failpoints import failpoint
from streams.kafka import Out, check_size, consumer, header, producer, read_partition, send
from streams.settings import Settings
from streams.topics import Topics, limits

# A rewind covers a minute; this is several, of every partition.
TAIL_RECORDS = 2000
CLOSE_SECONDS = 1.0

log = logging.getLogger("sluice.source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """tick: the last one that was committed. event_ids: those in the tail of the log, oldest first per partition."""

    tick: Tick | None
    event_ids: Sequence[str]


class SourceLog:
    """The producer, and the reader of `sluice.control.v1`."""

    def __init__(self, settings: Settings) -> None:
        topics = Topics(settings)
        self._limits: Mapping[str, int] = limits(topics.table())
        self._producer: AIOKafkaProducer = producer(settings, transactional_id=topics.group(Step.SOURCE))
        self._control: AIOKafkaConsumer = consumer(settings)
        self._control_partition = TopicPartition(topics.control, 0)
        self.found = Found(tick=None, event_ids=())

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

    async def commit(self, outs: Sequence[Out]) -> None:
        """Write all of it, or nothing. Raises `RecordTooLarge` before anything is sent, and a `KafkaError`."""
        for out in outs:
            check_size(out, self._limits)
        failpoint("source.read")
        await self._producer.begin_transaction()
        futures: list[asyncio.Future[Any]] = []
        try:
            for out in outs:
                futures.append(await send(self._producer, out, self._limits))  # noqa: PERF401 - kept if one fails
            # A send that failed does not fail the commit.
            await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.add_done_callback(_look_at)
        failpoint("source.sent")
        await self._producer.commit_transaction()
        failpoint("source.committed")

    async def close(self) -> None:
        """Never waits for what is still to be sent: after a failure it may never go out."""
        _, stopped = await asyncio.gather(_bounded(self._control.stop()), _bounded(self._producer.stop()))
        if not stopped:
            await _bounded(self._producer.client.close())


async def _find(settings: Settings) -> Found:
    topic = Topics(settings).source
    partitions = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
    reader = consumer(settings)
    await reader.start()
    try:
        reader.assign(partitions)
        first, end = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        for tp in partitions:
            reader.seek(tp, max(first[tp], end[tp] - TAIL_RECORDS))
        tick: Tick | None = None
        ids: list[str] = []
        for tp in partitions:
            while await reader.position(tp) < end[tp]:
                for record in (await reader.getmany(tp, timeout_ms=1000)).get(tp, ()):
                    kind = header(record, "kind")
                    if kind == KIND_EVENT:
                        ids.append(event_id_of_key(record.key))
                    elif kind == KIND_TICK and tp.partition == 0:
                        tick = decode_tick(record.value)
    finally:
        await reader.stop()
    if tick is None:
        tick = await _step_back(settings, topic, first[partitions[0]], end[partitions[0]] - TAIL_RECORDS)
    return Found(tick=tick, event_ids=ids)


async def _step_back(settings: Settings, topic: str, first: int, end: int) -> Tick | None:
    """The last tick before `end` on partition 0: nearly always it is in the tail already."""
    while end > first:
        start = max(first, end - TAIL_RECORDS)
        for record in reversed(await read_partition(settings, topic, 0, start=start, end=end)):
            if header(record, "kind") == KIND_TICK:
                return decode_tick(record.value)
        end = start
    return None


async def _bounded(closing: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(closing, CLOSE_SECONDS)
        return True
    except TimeoutError:
        log.warning("a Kafka client did not close within %.0f s", CLOSE_SECONDS)
    except KafkaError as exc:
        log.warning("a Kafka client closed with %r", exc)
    return False


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take note of a failure that another failure came before."""
    with contextlib.suppress(asyncio.CancelledError):
        future.exception()
