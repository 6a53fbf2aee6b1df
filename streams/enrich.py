"""The enrich step: each text in `content` becomes one parsed record in `enriched`, under the same key and partition.

A stateless Faust agent that parses nothing itself: `parse_workers` does. At least once: a batch is acknowledged when
the broker has every record of it, a repeat gives the same bytes under the same key. Seven rules keep it from losing
anything: no table, no `concurrency`, `stream_wait_empty`, a body that never raises, awaited deliveries, bounded work,
an input without transactions.

`SLUICE_ASSIGN=all` has no meaning here: Faust always shares its partitions through a consumer group.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from schemas.deadletter import DeadLetter
from schemas.enriched import ContentAbsent
from schemas.reasons import SetAside, Step
from streams import metrics
from streams.failpoints import failpoint
from streams.kafka import (
    COMPRESSION,
    MAX_REQUEST_BYTES,
    Out,
    RecordTooLarge,
    check_size,
    letter_out,
    quiet_client_logs,
)
from streams.parse_workers import ParseWorkers, Unreadable
from streams.settings import Settings
from streams.siteinfo import words_of
from streams.topics import Topics, limits

# A batch waits for its slowest record; one that is beyond every bound takes two deadlines.
BATCH = 32
WITHIN_SECONDS = 0.05
# Records that Faust holds per partition beyond a batch. A content record can have megabytes.
BUFFER = 64
RETRY_SECONDS = 1.0
# Less than what a process is given to drain.
STOP_SECONDS = 20.0

log = logging.getLogger("sluice.enrich")


class App(faust.App):
    """Faust without a folder of its own: it keeps no state."""

    def _create_directories(self) -> None:
        pass


class Enrich:
    """What happens to a record, apart from Faust."""

    def __init__(self, settings: Settings, workers: ParseWorkers) -> None:
        self.topics = Topics(settings)
        self._workers = workers
        self._limits = limits(self.topics.table())
        self._newest_ms = 0
        self._lag: dict[int, float] = {}

    async def attempt(
        self, key: bytes, value: bytes | None, *, partition: int, offset: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> Out:
        """What to send for one record of `content`: its enriched record, or a dead letter. Never raises.

        A tombstone erases here what it erased there; headers: they say what it leaves.
        """
        if value is None:
            return Out(topic=self.topics.enriched, key=key, value=None, partition=partition, headers=headers)
        origin = f"{self.topics.content}/{partition}/{offset}"
        try:
            return await self._patiently(key, value, partition)
        except Unreadable as exc:
            reason, detail = SetAside.WRONG_RECORD, str(exc)
        except RecordTooLarge as exc:
            reason, detail = SetAside.TOO_LARGE, str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with one page, the line goes on
            reason, detail = SetAside.UNPARSEABLE, repr(exc)
        log.warning("dead-lettered %s: %s: %s", origin, reason, detail[:300])
        metrics.DEAD_LETTERS.labels(Step.ENRICH, reason).inc()
        letter = DeadLetter(step=Step.ENRICH, reason=reason, detail=detail, origin=origin, payload=value)
        return letter_out(self.topics.deadletter, letter)

    async def _patiently(self, key: bytes, value: bytes, partition: int) -> Out:
        """While there can be no process to parse, the page waits: it is not at fault."""
        while True:
            try:
                return await self._enriched(key, value, partition)
            except OSError:
                log.exception("no process to parse, trying again")
                await asyncio.sleep(RETRY_SECONDS)

    async def _enriched(self, key: bytes, value: bytes, partition: int) -> Out:
        parsed = await self._workers.parse(value)
        out = Out(topic=self.topics.enriched, key=key, value=parsed.record, partition=partition)
        try:
            check_size(out, self._limits)
        except RecordTooLarge:
            parsed = await self._workers.leave_out(value, ContentAbsent.TOO_LARGE)
            out = Out(topic=self.topics.enriched, key=key, value=parsed.record, partition=partition)
            check_size(out, self._limits)
        self._newest_ms = max(self._newest_ms, parsed.at_ms)
        return out

    def finished(self, partition: int, records: int, seconds: float, lag_seconds: float) -> None:
        """Count a batch whose every record the broker has. lag_seconds: age of its oldest, 0 when it was the last."""
        metrics.RECORDS.labels(Step.ENRICH, "out").inc(records)
        metrics.STEP_SECONDS.labels(Step.ENRICH).observe(seconds)
        self._lag[partition] = lag_seconds
        metrics.LAG_SECONDS.labels(Step.ENRICH).set(max(self._lag.values()))
        if self._newest_ms:
            metrics.LAST_EVENT.labels(Step.ENRICH).set(self._newest_ms / 1000)


def build_app(settings: Settings, workers: ParseWorkers) -> App:
    """The Faust app of this step; `start` and `stop` it on the running loop."""
    work = Enrich(settings, workers)
    app = App(
        work.topics.group(Step.ENRICH),
        broker=";".join(f"kafka://{server.strip()}" for server in settings.kafka.split(",")),
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        producer_acks=-1,
        producer_linger=0.005,
        producer_compression_type=COMPRESSION,
        producer_max_request_size=MAX_REQUEST_BYTES,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4_194_304,
        consumer_group_instance_id=f"{work.topics.group(Step.ENRICH)}.{settings.instance}"
        if settings.instance
        else None,
        broker_session_timeout=10,
        broker_heartbeat_interval=3,
        broker_commit_interval=1.0,
        stream_wait_empty=True,
        stream_buffer_maxsize=BUFFER,
        loghandlers=[],
        logging_config=None,
    )

    def topic(name: str) -> Any:
        return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    topics = {name: topic(name) for name in (work.topics.content, work.topics.enriched, work.topics.deadletter)}

    async def deliver(outs: Sequence[Out]) -> None:
        """Returns when the broker has all of them, in their order: a tombstone must not overtake what it erases.

        Sends that run beside each other did overtake. Where one fails all are sent again: repeats are harmless.
        """
        while True:
            sent = []
            try:
                for out in outs:
                    future = await topics[out.topic].send(
                        key=out.key, value=out.value, partition=out.partition, headers=list(out.headers)
                    )
                    sent.append(future)
            except KafkaError:
                log.exception("a send failed, trying again")
                await asyncio.gather(*sent, return_exceptions=True)
            else:
                answers = await asyncio.gather(*sent, return_exceptions=True)
                failed = [answer for answer in answers if isinstance(answer, BaseException)]
                if not failed:
                    return
                log.warning("%d of %d sends failed, trying again: %r", len(failed), len(outs), failed[0])
            await asyncio.sleep(RETRY_SECONDS)

    @app.agent(topics[work.topics.content], isolated_partitions=True)
    async def step(stream: Any) -> None:
        async for events in stream.take_events(BATCH, within=WITHIN_SECONDS):
            await batch(events)

    async def batch(events: Sequence[Any]) -> None:
        began = time.monotonic()
        metrics.RECORDS.labels(Step.ENRICH, "in").inc(len(events))
        attempts = [
            work.attempt(
                event.key,
                event.value,
                partition=event.message.partition,
                offset=event.message.offset,
                headers=list(dict(event.message.headers or ()).items()),
            )
            for event in events
        ]
        outs = await asyncio.gather(*attempts)
        failpoint("enrich.parsed")
        await deliver(outs)
        failpoint("enrich.sent")
        first, last = events[0].message, events[-1].message
        behind = (app.consumer.highwater(TP(last.topic, last.partition)) or 0) > last.offset + 1
        lag_seconds = max(time.time() - first.timestamp, 0.0) if behind else 0.0
        work.finished(last.partition, len(events), time.monotonic() - began, lag_seconds)

    return app


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Enrich until `stop` is set; then the batch under way is finished, within 20 s.

    Raises what ended Faust, where that was not us.
    """
    quiet_client_logs()
    words_of(settings.siteinfo)  # refused here, and not by each process that parses
    async with ParseWorkers(settings.parse_workers, siteinfo=settings.siteinfo) as workers:
        await _run(build_app(settings, workers), stop)


async def _run(app: App, stop: asyncio.Event) -> None:
    await app.start()
    ended, stopped = asyncio.create_task(app.wait_until_stopped()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        async with asyncio.timeout(STOP_SECONDS):
            await app.stop()
            await ended
    if app.crashed:
        raise app.crash_reason or RuntimeError("Faust ended without saying why")
