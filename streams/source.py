"""The source step: exactly the events that the source still holds, in order per page, none twice, and time as ticks.

About once a tick one transaction: control records, the events that came, letters about messages that nobody can read,
what erases what was hidden (see `streams.erase`), and last a tick on every partition, which has the cursor in it. So
events and cursor are committed together or not at all, and a restart resumes from the last tick (see
`streams.source_log`). What is written for what came, and in which order, says `streams.source_batches`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from processors.cursor import Cursor
from schemas.control import ENDPOINT, control_kind, decode_endpoint
from schemas.lessons import Seed
from schemas.log import InvalidRecord
from schemas.reasons import Step
from streams import erase, learning, metrics
from streams.clock import Steps, now_ms
from streams.endpoints import Choice, Endpoints
from streams.erase import Eraser, Erasure
from streams.failpoints import failpoint
from streams.inbox import Inbox
from streams.kafka import Out, quiet_client_logs
from streams.learning import Learning
from streams.ownership import OwnershipLost
from streams.policy_files import Watch
from streams.settings import Settings, since_ms
from streams.source_batches import Batches
from streams.source_log import SourceLog
from streams.sse import Subscription, check_source

# A second instance fences us once by being started; if it does so again after we came back, it is there to stay.
FENCED_AGAIN_SECONDS = 30.0
RETRY_SECONDS = 1.0
# A stop has 5 s in all: for the last transaction, then for the clients.
FINISH_SECONDS = 3.0

log = logging.getLogger("sluice.source")


class Fenced(OwnershipLost):
    """Another instance writes the log, and is the newer one. A process exits with code 3."""


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Write the log until `stop` is set; then commit what has come, and leave within 5 s.

    The topics must exist. Raises `InvalidSetting` before anything is asked of anybody, and `Fenced`.
    """
    check_source(settings)
    since_ms(settings, now_ms())
    seed = learning.load_seed(settings)
    quiet_client_logs()
    work = asyncio.create_task(_keep_writing(settings, stop, seed))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=FINISH_SECONDS)
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.wait({work, stopped})
    if not work.cancelled():
        work.result()


async def _keep_writing(settings: Settings, stop: asyncio.Event, seed: Seed) -> None:
    rebuilt = False
    policies = Watch(settings.rules)
    while not stop.is_set():
        began = time.monotonic()
        try:
            writer = await SourceLog.open(settings)
            began = time.monotonic()
            try:
                await _Writing(settings, writer, policies, seed).run(stop)
            finally:
                await writer.close()
        except (KafkaError, AssertionError) as exc:
            # The client asserts where a transaction that timed out is used again.
            fenced = isinstance(exc, ProducerFenced | InvalidProducerEpoch)
            if fenced and rebuilt and time.monotonic() - began < FENCED_AGAIN_SECONDS:
                raise Fenced("a newer instance of the source writes the log") from exc
            log.warning("the writer is made anew after %r", exc)
            metrics.REBUILDS.labels(Step.SOURCE).inc()
            rebuilt = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_SECONDS)


class _Writing:
    """One life of the writer: from the last committed tick to an error or the end."""

    def __init__(self, settings: Settings, writer: SourceLog, policies: Watch, seed: Seed) -> None:
        self._settings = settings
        self._policies = policies
        self._seed = seed
        self._learning: Learning | None = None
        self._writer = writer
        self._inbox = Inbox()
        self._endpoints = Endpoints(settings)
        self._batches = Batches(settings, writer.found, now_ms(), policies)
        self._eraser = Eraser(settings)
        self._erasure: tuple[Erasure, asyncio.Future[None]] | None = None
        self._steps = Steps()
        self._read_ms = now_ms()
        if writer.found.endpoint:
            self._choose(writer.found.endpoint)

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set and all that had come by then is committed."""
        tick = self._writer.found.tick
        begin_ms = since_ms(self._settings, now_ms())
        if tick is not None and self._settings.since:
            log.info("the log goes on where it ends; since=%s is for a first start", self._settings.since)
        subscription = Subscription(
            self._settings, Cursor(tick.cursor if tick else ()), begin_ms=begin_ms, endpoints=self._endpoints
        )
        reader = asyncio.create_task(subscription.follow(self._inbox.put))
        stopped = asyncio.create_task(stop.wait())
        eraser = asyncio.create_task(self._eraser.follow(self._write))
        tasks = (reader, stopped, eraser)
        for task in tasks:
            task.add_done_callback(self._inbox.wake)
        try:
            while not reader.done() and not eraser.done() and not stop.is_set():
                due = time.monotonic() + self._settings.tick_seconds
                await self._transact()
                await self._inbox.wait(due - time.monotonic())
            for task in (reader, eraser):
                if task.done():
                    task.result()
            reader.cancel()
            await asyncio.wait({reader})
            await self._transact()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if self._learning is not None:
                await self._learning.close()

    async def _write(self, erasure: Erasure) -> None:
        """Have it committed with the next transaction."""
        done = asyncio.get_running_loop().create_future()
        self._erasure = (erasure, done)
        await done

    async def _transact(self) -> None:
        began = time.monotonic()
        control = await self._writer.control()
        # Silence is believed up to the last time we looked: what came since may still be on the wire.
        read_ms, self._read_ms = self._read_ms, now_ms()
        if self._steps.stepped():
            log.warning("the clock was set; streams are heard by their own messages until they are caught up again")
            self._batches.stepped(now_ms())
        for record in control:
            if record.value is not None and control_kind(record.value) == ENDPOINT:
                self._told(record.value)
        items, all_read = self._inbox.take()
        erasure, done = self._erasure if self._erasure is not None else (None, None)
        learned = await self._learn()
        outs = self._batches.outs(
            items, control, erasure.outs if erasure else (), learned=learned, read_ms=read_ms, all_read=all_read
        )
        await self._writer.commit(outs, offsets=erasure.offsets if erasure else None, group=self._eraser.group)
        if erasure is not None and done is not None:
            self._erasure = None
            erase.count(erasure)
            failpoint("erase.committed")
            if not done.cancelled():
                done.set_result(None)
        metrics.STEP_SECONDS.labels(Step.SOURCE).observe(time.monotonic() - began)
        self._batches.count(now_ms())

    async def _learn(self) -> list[Out]:
        """What was learned, if a policy asks for it and it is time to say so."""
        policies = self._policies.current()
        if not learning.targets_of(policies):
            return []
        if self._learning is None:
            self._learning = await Learning.open(self._settings, self._seed)
        await self._learning.read()
        return self._learning.outs(policies, self._batches.heard_ms, self._batches.number)

    def _told(self, value: bytes) -> None:
        try:
            self._choose(decode_endpoint(value))
        except InvalidRecord as exc:
            log.warning("a control record is no choice of an endpoint: %s", exc)

    def _choose(self, choice: str) -> None:
        if choice in list(Choice) and self._endpoints.choose(Choice(choice)):
            log.info("endpoint %s, as told: %s", choice, self._endpoints.url)
        else:
            log.warning("told to ask endpoint %r, which is not configured; nothing changes", choice)
