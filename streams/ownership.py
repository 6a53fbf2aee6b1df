"""Which partitions are ours, each with the producer that fences its former owner.

The client has no KIP-447, so a consumer group fences nothing. What fences is one transactional.id per partition, in
this order: start its producer (this ends the former owner's transaction and its right to write), only then read the
committed offset, seek there, and keep a ledger of our own of what comes next. What is fetched and is not in the ledger
is not ours to process; it is never lost, since every way back into the ledger begins with a seek.

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
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, InvalidProducerEpoch, KafkaError, ProducerFenced

from schemas.reasons import Step
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import Out, close_consumer, close_producer, consumer, producer
from streams.settings import Settings
from streams.transaction import send_batches

RETRY_SECONDS = 1.0
# Rebuilding a large state may take longer than the client's 5 minutes between two polls.
MAX_POLL_INTERVAL_MS = 1_800_000
FENCED = (ProducerFenced, InvalidProducerEpoch)

log = logging.getLogger(__name__)


class OwnershipLost(RuntimeError):
    """Another worker took over the partitions that were assigned to us by hand. A process exits with code 3."""


class Owner(Protocol):
    """Who has a state for each partition that is ours."""

    async def own(self, partition: int) -> None:
        """Build the partition's state. The former owner is fenced: what is committed now is all there will be."""

    def lost(self, partition: int) -> None:
        """Drop the partition's state: it may be ahead of what is committed. May come without an `own` before."""


class Ownership:
    """The partitions of one worker, from `join` to `leave`. To be made where a loop runs.

    app, inputs, partitions: see `ExactlyOnce`. reader: the consumer; to be polled while no `take` runs. next: what
    comes next in each input of each partition that is ours. lock: shared by the loop and the rebalance, so that no
    partition is given away while its transaction runs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        app: str,
        step: Step,
        inputs: Sequence[str],
        owner: Owner,
        partitions: Sequence[int] | None,
    ) -> None:
        self._settings = settings
        self._app = app
        self._step = step
        self._inputs = inputs
        self._owner = owner
        self._partitions = partitions
        self._producers: dict[int, AIOKafkaProducer] = {}
        self._not_before: dict[int, float] = {}
        self._fenced: dict[int, BaseException] = {}
        self.lock = asyncio.Lock()
        self.next: dict[TopicPartition, int] = {}
        self.reader = consumer(
            settings,
            group=app,
            # The partitions with one number, of all inputs, go to the same worker.
            partition_assignment_strategy=(RangePartitionAssignor,),
            max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        )

    @property
    def is_whole(self) -> bool:
        """Whether we own all that is assigned to us."""
        return len(self._producers) == len(self._assigned())

    async def join(self) -> None:
        """Begin to be assigned partitions."""
        await self.reader.start()
        if self._partitions is None:
            self.reader.subscribe(self._inputs, listener=_Listener(self))
        else:
            self.reader.assign([tp for partition in self._partitions for tp in self._of(partition)])

    async def leave(self) -> None:
        """Give all of it up, and stop the consumer."""
        await self.release()
        await close_consumer(self.reader)

    async def release(self) -> None:
        """Give up what we own."""
        async with self.lock:
            await self._drop(list(self._producers))

    async def take(self) -> None:
        """Own what is assigned to us, as far as it is not ours yet. Raises `OwnershipLost`.

        By the loop and nobody else, so that no poll is under way while a partition is sought to its place; and not by
        the rebalance listener, during which the client sends no heartbeats.
        """
        async with self.lock:
            ready = time.monotonic()
            wanted = [
                partition
                for partition in self._assigned()
                if partition not in self._producers and self._not_before.get(partition, 0.0) <= ready
            ]
            if self._partitions is not None and wanted[:1] == [self._partitions[0]]:
                await self._own(wanted.pop(0))
            await finish_all(self._own(partition) for partition in wanted)
            await self.settle()

    async def _own(self, partition: int) -> None:
        sender = producer(self._settings, transactional_id=f"{self._app}-{partition}")
        self._producers[partition] = sender
        try:
            await sender.start()
            failpoint("loop.fenced")
            for tp in self._of(partition):
                committed = await self.reader.committed(tp)
                self.reader.seek(tp, committed or 0)
                self.next[tp] = committed or 0
            await self._owner.own(partition)
        except (KafkaError, IllegalStateError) as exc:
            await self.fail(partition, exc)

    async def commit(self, partition: int, outs: Sequence[Out], offsets: Mapping[TopicPartition, int]) -> None:
        """Write `outs` and how far we have read, or nothing. `lock` is held.

        Raises a `KafkaError`, and an `AssertionError` of the client where a transaction that timed out is used again.
        """
        sender = self._producers[partition]
        failpoint("loop.worked")
        await sender.begin_transaction()
        await send_batches(sender, outs)
        failpoint("loop.sent")
        await sender.send_offsets_to_transaction(dict(offsets), self._app)
        failpoint("loop.offsets_sent")
        await sender.commit_transaction()
        failpoint("loop.committed")
        self.next.update(offsets)

    async def fail(self, partition: int, exc: BaseException) -> None:
        """Nothing is known of the partition's transaction. Forget all about it, and come back from the cluster."""
        await self._drop([partition])
        metrics.REBUILDS.labels(self._step).inc()
        self._not_before[partition] = time.monotonic() + RETRY_SECONDS
        if self._partitions is not None and isinstance(exc, FENCED):
            self._fenced[partition] = exc
        else:
            log.warning("%s: partition %d is taken up anew after %r", self._app, partition, exc)

    async def settle(self) -> None:
        """Where a worker with the same list fenced us: one stays. Called while no transaction runs, `lock` held.

        Raises `OwnershipLost` if it is the other one.
        """
        if self._partitions is None or not self._fenced:
            return
        fenced, self._fenced = self._fenced, {}
        first = self._partitions[0]
        if first in fenced:
            raise self._lost(first) from fenced[first]
        if first in self._producers:
            try:
                # Of no effect, but to be answered.
                await self.commit(first, (), {tp: self.next[tp] for tp in self._of(first)})
            except FENCED as exc:
                raise self._lost(first) from exc
            except (KafkaError, AssertionError) as exc:
                await self.fail(first, exc)
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
                self.next.pop(tp, None)
            self._owner.lost(partition)
        await finish_all(close_producer(self._producers.pop(p)) for p in partitions if p in self._producers)

    def _assigned(self) -> list[int]:
        if self._partitions is not None:
            return list(self._partitions)
        assigned = self.reader.assignment()
        first = (tp.partition for tp in assigned if tp.topic == self._inputs[0])
        return sorted(partition for partition in first if assigned.issuperset(self._of(partition)))

    def _of(self, partition: int) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for topic in self._inputs]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, ours: Ownership) -> None:
        self._ours = ours

    async def on_partitions_revoked(self, revoked: object) -> None:
        await self._ours.release()

    async def on_partitions_assigned(self, assigned: object) -> None:
        """Nothing: the loop sees what is assigned, and owns it when no poll is under way."""


async def finish_all(works: Iterable[Awaitable[None]]) -> None:
    """Run all to their end, also when one fails; then raise the first failure."""
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
