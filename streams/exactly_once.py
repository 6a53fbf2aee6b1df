"""Exactly once, for gate and publish: read, work, write and commit the offsets in one Kafka transaction per partition.

The client has no KIP-447, so a consumer group fences nothing. What fences is one transactional.id per partition, in
this order: start its producer (this ends the former owner's transaction and its right to write), only then read the
committed offset, seek there, and keep a ledger of our own of what comes next. What is fetched and is not in the ledger
is not ours to process; it is never lost, since every way back into the ledger begins with a seek.

A failed transaction says nothing about what was committed. So there is one answer to every failure: stop the producer,
forget the partition, and after a second own it anew, from what the cluster says.

With `partitions=None` the workers of a group share the partitions. With a list (manual) this worker takes them, and
keeps them until somebody else does: being fenced then means that a second worker runs with the same list. Whoever took
the first partition of the list last, wins: it is taken before the others, and who is fenced elsewhere asks the broker
whether the first one is still ours. If so, the other partition is taken back, for good; if not, the loser raises
`OwnershipLost`. So of two that start in the same second one stays, and never do two fence each other for ever. All
else, a broker's restart above all, is answered in place in both modes. (A broker that was killed can now and then
answer as if we had been fenced; then the loop is started again by whoever started it, and nothing is lost or doubled.)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, InvalidProducerEpoch, KafkaError, ProducerFenced

from schemas.deadletter import DeadLetter
from schemas.reasons import SetAside, Step
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import (
    Out,
    RecordTooLarge,
    check_size,
    close_consumer,
    close_producer,
    consumer,
    letter_out,
    producer,
    quiet_client_logs,
)
from streams.settings import Settings
from streams.transaction import send_batches

POLL_MS = 300
RETRY_SECONDS = 1.0
# A stop has 10 s in all: for the transaction that runs, then for the clients.
FINISH_SECONDS = 5.0
# Rebuilding a large state may take longer than the client's 5 minutes between two polls.
MAX_POLL_INTERVAL_MS = 1_800_000

log = logging.getLogger(__name__)


FENCED = (ProducerFenced, InvalidProducerEpoch)


class OwnershipLost(RuntimeError):
    """Another worker took over the partitions that were assigned to us by hand. A process exits with code 3."""


class Handler(Protocol):
    """What a step does with the records of one partition. A partition's calls never overlap.

    An exception other than a `KafkaError` is a fault of the step and ends the loop.
    """

    async def own(self, partition: int) -> None:
        """Build the partition's state. The former owner is fenced: what is committed now is all there will be."""

    async def work(self, partition: int, records: Sequence[Any]) -> Sequence[Out]:
        """What to write for these records: of all inputs, input after input, each in the order of its log."""

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        """The records and what was written for them are committed."""

    def lost(self, partition: int) -> None:
        """Drop the partition's state: it may be ahead of what is committed. May come without an `own` before."""


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
        # Shared by loop and rebalance listener: a partition is not given away while its transaction runs.
        self._lock = asyncio.Lock()
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._next: dict[TopicPartition, int] = {}
        self._not_before: dict[int, float] = {}
        self._fenced: dict[int, BaseException] = {}
        self._consumer: AIOKafkaConsumer = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish the transaction that runs and leave, within 10 s.

        Raises `OwnershipLost`, what the handler raises, and a `KafkaError` that no retry can repair.
        """
        quiet_client_logs()
        self._consumer = consumer(
            self._settings,
            group=self._app,
            # The partitions with one number, of all inputs, go to the same worker.
            partition_assignment_strategy=(RangePartitionAssignor,),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        )
        try:
            await self._consumer.start()
            self._subscribe()
            await self._until(stop)
        finally:
            await self._close()

    def _subscribe(self) -> None:
        if self._partitions is None:
            self._consumer.subscribe(self._inputs, listener=_Listener(self))
        else:
            self._consumer.assign([tp for partition in self._partitions for tp in self._of(partition)])

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
            await self._own_what_is_ours()
            batch = await self._poll()
            async with self._lock:
                await self._transact(batch)

    async def _own_what_is_ours(self) -> None:
        # Here and nowhere else, so that no poll is under way while a partition is sought to its place; and not in the
        # rebalance listener, during which the client sends no heartbeats.
        async with self._lock:
            ready = time.monotonic()
            wanted = [
                partition
                for partition in self._assigned()
                if partition not in self._producers and self._not_before.get(partition, 0.0) <= ready
            ]
            if self._partitions is not None and wanted[:1] == [self._partitions[0]]:
                await self._own(wanted.pop(0))
            await _all(self._own(partition) for partition in wanted)
            await self._settle_ownership()

    async def _own(self, partition: int) -> None:
        sender = producer(self._settings, transactional_id=f"{self._app}-{partition}")
        self._producers[partition] = sender
        try:
            await sender.start()
            failpoint("loop.fenced")
            for tp in self._of(partition):
                committed = await self._consumer.committed(tp)
                self._consumer.seek(tp, committed or 0)
                self._next[tp] = committed or 0
            await self._handler.own(partition)
        except (KafkaError, IllegalStateError) as exc:
            await self._fail(partition, exc)

    async def _poll(self) -> dict[TopicPartition, list[Any]]:
        batch: dict[TopicPartition, list[Any]]
        try:
            if not self._next:
                # Only to hear of errors: what comes is left, since to own a partition begins with a seek.
                await asyncio.sleep(POLL_MS / 1000)
                await self._consumer.getmany(timeout_ms=0, max_records=1)
                return {}
            batch = await self._consumer.getmany(*self._next, timeout_ms=POLL_MS, max_records=self._max_records)
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
            if tp in self._next and (records := [r for r in batch[tp] if r.offset >= self._next[tp]]):
                work.setdefault(tp.partition, {})[tp] = records
        if work:
            oldest = min(records[0].timestamp for each in work.values() for records in each.values())
            metrics.LAG_SECONDS.labels(self._step).set(max(0.0, time.time() - oldest / 1000))
            await _all(self._transaction(partition, each) for partition, each in work.items())
            await self._settle_ownership()
        elif len(self._producers) == len(self._assigned()):
            metrics.LAG_SECONDS.labels(self._step).set(0)

    async def _transaction(self, partition: int, batch: Mapping[TopicPartition, Sequence[Any]]) -> None:
        records = [record for each in batch.values() for record in each]
        offsets = {tp: each[-1].offset + 1 for tp, each in batch.items()}
        with metrics.STEP_SECONDS.labels(self._step).time():
            try:
                outs = self._that_fit(partition, records, await self._handler.work(partition, records))
            except KafkaError as exc:
                return await self._fail(partition, exc)
            try:
                await self._commit(self._producers[partition], outs, offsets)
            except (KafkaError, AssertionError) as exc:
                # The client asserts where a transaction that timed out is used again.
                return await self._fail(partition, exc)
        self._next.update(offsets)
        return self._handler.committed(partition, records, outs)

    async def _commit(
        self, sender: AIOKafkaProducer, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]
    ) -> None:
        failpoint("loop.worked")
        await sender.begin_transaction()
        await send_batches(sender, outs)
        failpoint("loop.sent")
        await sender.send_offsets_to_transaction(dict(offsets), self._app)
        failpoint("loop.offsets_sent")
        await sender.commit_transaction()
        failpoint("loop.committed")

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

    async def _fail(self, partition: int, exc: BaseException) -> None:
        """Nothing is known of the partition's transaction. Forget all about it, and come back from the cluster."""
        await self._drop([partition])
        metrics.REBUILDS.labels(self._step).inc()
        self._not_before[partition] = time.monotonic() + RETRY_SECONDS
        if self._partitions is not None and isinstance(exc, FENCED):
            self._fenced[partition] = exc
        else:
            log.warning("%s: partition %d is taken up anew after %r", self._app, partition, exc)

    async def _settle_ownership(self) -> None:
        """Where a worker with the same list fenced us: one stays. Called while no transaction runs."""
        if self._partitions is None or not self._fenced:
            return
        fenced, self._fenced = self._fenced, {}
        first = self._partitions[0]
        if first in fenced:
            raise self._lost(first) from fenced[first]
        if first in self._producers:
            try:
                # Of no effect, but to be answered.
                await self._commit(self._producers[first], (), {tp: self._next[tp] for tp in self._of(first)})
            except FENCED as exc:
                raise self._lost(first) from exc
            except (KafkaError, AssertionError) as exc:
                await self._fail(first, exc)
        numbers = ", ".join(map(str, sorted(fenced)))
        log.warning("%s: another worker took partitions %s; we are the newest and take them back", self._app, numbers)

    def _lost(self, partition: int) -> OwnershipLost:
        return OwnershipLost(
            f"{self._app}: another worker with SLUICE_ASSIGN=all took over partition {partition}. It is the newest and "
            "stays; this one ends. With SLUICE_ASSIGN=group they share the partitions"
        )

    async def _drop(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            for tp in self._of(partition):
                self._next.pop(tp, None)
            self._handler.lost(partition)
        await _all(close_producer(self._producers.pop(p)) for p in partitions if p in self._producers)

    async def _revoked(self) -> None:
        async with self._lock:
            await self._drop(list(self._producers))

    async def _close(self) -> None:
        async with self._lock:
            await self._drop(list(self._producers))
        await close_consumer(self._consumer)

    def _assigned(self) -> list[int]:
        if self._partitions is not None:
            return list(self._partitions)
        assigned = self._consumer.assignment()
        first = (tp.partition for tp in assigned if tp.topic == self._inputs[0])
        return sorted(partition for partition in first if assigned.issuperset(self._of(partition)))

    def _of(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in self._inputs]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, loop: ExactlyOnce) -> None:
        self._loop = loop

    async def on_partitions_revoked(self, revoked: object) -> None:
        await self._loop._revoked()

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing: the loop sees what is assigned, and owns it when no poll is under way."""


async def _all(works: Any) -> None:
    """Run all to their end, also when one fails; then raise the first failure."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
