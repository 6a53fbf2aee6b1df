"""Reading a log whose records are finished out of order: what is committed is each partition's low-water mark.

At least once. With `assign=all` this worker takes every partition, else the workers of a group share them. What is
read belongs to a `Ticket`; when partitions are shared out anew all tickets given out before are void: their records
are another worker's now, or are read again from the mark.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from processors.low_water import LowWater
from schemas.reasons import Step
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import consumer, origin
from streams.settings import Settings
from streams.topics import Topics

POLL_MS = 300
POLL_RECORDS = 500
RETRY_SECONDS = 1.0

log = logging.getLogger("sluice.out_of_order")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticket:
    """A record, and the bookkeeping of its partition when it was read."""

    record: Any
    low: LowWater

    @property
    def origin(self) -> str:
        """`topic/partition/offset`."""
        return origin(self.record)

    def done(self) -> None:
        """What the record led to is safe with the broker. Call it once."""
        self.low.done(self.record.offset)


class OutOfOrder:
    """The consumer of one step.

    max_in_flight: above this many records that are not done, nothing more is read. on_lost: called when tickets
    become void.
    """

    def __init__(
        self, settings: Settings, topic: str, step: Step, *, max_in_flight: int, on_lost: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._step = step
        self._max_in_flight = max_in_flight
        self._on_lost = on_lost
        self._consumer: AIOKafkaConsumer = None
        self._owned: dict[int, LowWater] = {}
        self._committed: dict[int, int] = {}

    @property
    def owned(self) -> frozenset[int]:
        """This worker's partitions."""
        return frozenset(self._owned)

    async def start(self) -> None:
        """Join. Raises `KafkaError` if the cluster cannot be reached."""
        self._consumer = consumer(self._settings, group=Topics(self._settings).group(self._step))
        await self._consumer.start()
        if self._settings.assign == "all":
            self._consumer.assign([self._tp(partition) for partition in range(self._settings.partitions)])
        else:
            self._consumer.subscribe([self._topic], listener=_Listener(self))

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self) -> list[Ticket]:
        """What came within a fraction of a second; nothing while too much is in flight.

        Raises a `KafkaError` that no retry can repair.
        """
        await self._own_what_is_ours()
        self._hold_back()
        tickets = []
        for tp, records in (await self._poll()).items():
            low = self._owned.get(tp.partition)
            if low is not None:
                tickets += [Ticket(record=r, low=low) for r in records if low.begin(r.offset, r.timestamp)]
        return tickets

    def is_ours(self, ticket: Ticket) -> bool:
        """False once the ticket is void."""
        return self._owned.get(ticket.record.partition) is ticket.low

    async def commit(self) -> None:
        """Commit the marks that have moved. If it fails they go with the next."""
        marks = {partition: low.mark for partition, low in self._owned.items()}
        marks = {partition: mark for partition, mark in marks.items() if mark > self._committed[partition]}
        if not marks:
            return
        try:
            await self._consumer.commit({self._tp(partition): mark for partition, mark in marks.items()})
        except (KafkaError, IllegalStateError) as exc:
            log.warning("%s: offsets are not committed yet: %r", self._step, exc)
        else:
            failpoint("low_water.committed")
            self._committed.update(marks)

    def measure(self) -> None:
        """Set the lag: the age of the oldest record that is not done."""
        oldest = [low.oldest_ms for low in self._owned.values() if low.oldest_ms is not None]
        lag = time.time() - min(oldest) / 1000 if oldest else 0.0
        metrics.LAG_SECONDS.labels(self._step).set(max(0.0, lag))

    async def _own_what_is_ours(self) -> None:
        # Here and nowhere else, so that no poll is under way while a partition is sought to its place. What is polled
        # and not owned is not lost: to own begins with a seek.
        for tp in self._consumer.assignment():
            if tp.partition in self._owned:
                continue
            try:
                committed = await self._consumer.committed(tp) or 0
                self._consumer.seek(tp, committed)
            except (KafkaError, IllegalStateError) as exc:
                log.warning("%s: partition %d cannot be taken up yet: %r", self._step, tp.partition, exc)
                return
            self._owned[tp.partition] = LowWater(committed)
            self._committed[tp.partition] = committed

    def _hold_back(self) -> None:
        if sum(len(low) for low in self._owned.values()) >= self._max_in_flight:
            self._consumer.pause(*self._consumer.assignment())
        elif paused := self._consumer.paused():
            self._consumer.resume(*paused)

    async def _poll(self) -> dict[TopicPartition, list[Any]]:
        batch: dict[TopicPartition, list[Any]]
        try:
            if not self._owned:
                # Only to hear of errors: what comes is left, since to own a partition begins with a seek.
                await asyncio.sleep(POLL_MS / 1000)
                await self._consumer.getmany(timeout_ms=0, max_records=1)
                return {}
            batch = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
        except KafkaError as exc:
            if not exc.retriable:
                raise
            log.warning("%s: cannot read: %r", self._step, exc)
            await asyncio.sleep(RETRY_SECONDS)
            return {}
        return batch

    def _lose_all(self) -> None:
        self._owned.clear()
        self._committed.clear()
        self._on_lost()

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, reader: OutOfOrder) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: object) -> None:
        self._reader._lose_all()

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing: the next read sees what is assigned, and owns it when no poll is under way."""
