"""Exactly once, for gate and publish: read, work, write and commit the offsets in one Kafka transaction per partition.

Which partitions are ours, and what that is worth, says `streams.ownership`. A failed transaction says nothing about
what was committed. So there is one answer to every failure: stop the producer, forget the partition, and after a second
own it anew, from what the cluster says.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from schemas.deadletter import DeadLetter
from schemas.reasons import SetAside, Step
from streams import metrics
from streams.kafka import Out, RecordTooLarge, check_size, letter_out, quiet_client_logs
from streams.ownership import RETRY_SECONDS, Owner, Ownership, finish_all
from streams.settings import Settings

POLL_MS = 300
# A stop has 10 s in all: for the transaction that runs, then for the clients.
FINISH_SECONDS = 5.0

log = logging.getLogger(__name__)


class Handler(Owner, Protocol):
    """What a step does with the records of one partition. A partition's calls never overlap.

    An exception other than a `KafkaError` is a fault of the step and ends the loop.
    """

    async def work(self, partition: int, records: Sequence[Any]) -> Sequence[Out]:
        """What to write for these records: of all inputs, input after input, each in the order of its log."""

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """The records and what was written for them are committed."""


class ExactlyOnce:
    """The loop of one worker.

    app: consumer group, and first part of the transactional ids. inputs: topics with the same number of partitions;
    partition n of all of them is worked on as one. limits: topic → largest record in bytes; a larger one goes to
    `dead_letters`. max_records: most records in one transaction.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        app: str,
        step: Step,
        inputs: Sequence[str],
        limits: Mapping[str, int],
        handler: Handler,
        dead_letters: str,
        partitions: Sequence[int] | None = None,
        max_records: int = 500,
    ) -> None:
        self._settings = settings
        self._app = app
        self._step = step
        self._inputs = tuple(inputs)
        self._limits = limits
        self._handler = handler
        self._dead_letters = dead_letters
        self._partitions = None if partitions is None else tuple(partitions)
        self._max_records = max_records
        self._ours: Ownership  # while it runs

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish the transaction that runs and leave, within 10 s.

        Raises `OwnershipLost`, what the handler raises, and a `KafkaError` that no retry can repair.
        """
        quiet_client_logs()
        self._ours = Ownership(
            self._settings,
            app=self._app,
            step=self._step,
            inputs=self._inputs,
            owner=self._handler,
            partitions=self._partitions,
        )
        try:
            await self._ours.join()
            await self._until(stop)
        finally:
            await self._ours.leave()

    async def _until(self, stop: asyncio.Event) -> None:
        """Run the loop; when `stop` is set, let its last round end, but do not wait for a broker that is away."""
        loop = asyncio.create_task(self._loop(stop))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({loop, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({loop}, timeout=FINISH_SECONDS)
        finally:
            for task in (loop, stopped):
                task.cancel()
            await asyncio.wait({loop, stopped})
        if not loop.cancelled():
            loop.result()

    async def _loop(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._ours.take()
            batch = await self._poll()
            async with self._ours.lock:
                await self._transact(batch)

    async def _poll(self) -> dict[TopicPartition, list[Any]]:
        batch: dict[TopicPartition, list[Any]]
        try:
            if not self._ours.next:
                # Only to hear of errors: what comes is left, since to own a partition begins with a seek.
                await asyncio.sleep(POLL_MS / 1000)
                await self._ours.reader.getmany(timeout_ms=0, max_records=1)
                return {}
            batch = await self._ours.reader.getmany(*self._ours.next, timeout_ms=POLL_MS, max_records=self._max_records)
        except KafkaError as exc:
            if not exc.retriable:
                raise
            log.warning("%s: cannot read: %r", self._app, exc)
            await asyncio.sleep(RETRY_SECONDS)
            return {}
        return batch

    async def _transact(self, batch: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """One transaction for each partition that has records and is still ours, all at the same time."""
        work: dict[int, dict[TopicPartition, Sequence[Any]]] = {}
        for tp in sorted(batch, key=lambda tp: self._inputs.index(tp.topic)):
            if tp in self._ours.next and (records := [r for r in batch[tp] if r.offset >= self._ours.next[tp]]):
                work.setdefault(tp.partition, {})[tp] = records
        if work:
            oldest = min(records[0].timestamp for each in work.values() for records in each.values())
            metrics.LAG_SECONDS.labels(self._step).set(max(0.0, time.time() - oldest / 1000))
            await finish_all(self._transaction(partition, each) for partition, each in work.items())
            await self._ours.settle()
        elif self._ours.is_whole:
            metrics.LAG_SECONDS.labels(self._step).set(0)

    async def _transaction(self, partition: int, batch: Mapping[TopicPartition, Sequence[Any]]) -> None:
        records = [record for each in batch.values() for record in each]
        offsets = {tp: each[-1].offset + 1 for tp, each in batch.items()}
        with metrics.STEP_SECONDS.labels(self._step).time():
            try:
                outs = self._that_fit(partition, records, await self._handler.work(partition, records))
            except KafkaError as exc:
                return await self._ours.fail(partition, exc)
            try:
                await self._ours.commit(partition, outs, offsets)
            except (KafkaError, AssertionError) as exc:
                # The client asserts where a transaction that timed out is used again.
                return await self._ours.fail(partition, exc)
        return self._handler.committed(partition, records, outs)

    def _that_fit(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> list[Out]:
        """`outs` with those that their topic would reject replaced by dead letters, before anything is sent."""
        kept = []
        for out in outs:
            try:
                check_size(out, self._limits)
                kept.append(out)
            except RecordTooLarge as exc:
                log.warning("%s: a record goes to the dead letters: %s", self._app, exc)
                kept.append(self._letter(partition, records, out, exc))
        return kept

    def _letter(self, partition: int, records: Sequence[Any], out: Out, exc: RecordTooLarge) -> Out:
        last = records[-1]
        letter = DeadLetter(
            step=self._step,
            reason=SetAside.TOO_LARGE,
            detail=f"{exc}; made from {last.topic}/{partition} up to offset {last.offset}",
            origin=f"{out.topic}/{partition}/{out.key.decode('utf-8', 'replace')}",
            payload=out.value or b"",
        )
        whole = letter_out(self._dead_letters, letter)
        excess = whole.size_bytes - self._limits.get(self._dead_letters, whole.size_bytes)
        if excess <= 0:
            return whole
        return Out(topic=whole.topic, key=whole.key, value=letter.payload[:-excess], headers=whole.headers)
