"""The source step: exactly the events that the source still holds, in order per page, none twice, and time as ticks.

About once a tick one transaction: control records, the events that came, letters about messages that nobody can read,
what erases what was hidden (see `streams.erase`), and last a tick on every partition, which has the cursor in it. So
events and cursor are committed together or not at all, and a restart resumes from the last tick (see
`streams.source_log`). Order in every partition of a transaction: control records (what was learned, see
`streams.learning`, the policies, all others), events, skeletons, tick. Where the server no longer has what we want to
read on with, a gap (a control record) comes before what is behind it.

Headers of a record: `kind` (event, tick, control); an event also has `stream` and `at_ms`, its event time, and
`reconciled` if the source never sent it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from processors.cursor import Cursor, stream_of
from processors.heard import Heard, Limits
from processors.plans import heard_until
from processors.route import Seen, Titles, route
from schemas.control import ENDPOINT, RECONCILED, control_kind, decode_endpoint, decode_reconciled
from schemas.deadletter import DeadLetter
from schemas.event import Event, InvalidEvent, Meta, PageChange, decode_event, rfc3339
from schemas.lessons import Seed
from schemas.log import (
    KIND_CONTROL,
    KIND_EVENT,
    KIND_TICK,
    Gap,
    InvalidRecord,
    Policies,
    Tick,
    encode_gap,
    encode_policies,
    encode_tick,
)
from schemas.reasons import SetAside, Step
from streams import erase, learning, metrics
from streams.clock import Steps, now_ms
from streams.endpoints import Choice, Endpoints
from streams.erase import Eraser, Erasure
from streams.failpoints import failpoint
from streams.inbox import Closed, Inbox, Item, Message, Named, Opened
from streams.kafka import Out, letter_out, quiet_client_logs
from streams.learning import Learning
from streams.ownership import OwnershipLost
from streams.policy_files import Watch
from streams.settings import Settings, since_ms
from streams.source_log import Found, SourceLog
from streams.sse import Subscription, check_source
from streams.topics import Topics

# Per stream: minutes at the peak rate of recent changes. What a rewind brings again are the last two of each topic.
KNOWN_IDS = 30_000
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


class Batches:
    """What to write for what came. Its state is ahead of the log until the commit; if that fails it is thrown away."""

    def __init__(self, settings: Settings, found: Found, at_ms: int, policies: Watch | None = None) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self._all_changes = settings.recentchange == "all"
        bounds = Limits(
            quiet_ms=round(settings.quiet_seconds * 1000),
            caught_up_ms=round(settings.caught_up_seconds * 1000),
            deaf_ms=round(settings.deaf_seconds * 1000),
        )
        tick = found.tick or Tick(number=0, heard_ms={}, cursor=())
        self._tick = tick
        self._policies = policies or Watch(settings.rules)
        self._cursor = Cursor(tick.cursor)
        self._opened_ms = at_ms
        self._titles = Titles()
        self._patrols = False
        self._gaps: Counter[str] = Counter()
        self._heard = Heard.restored(bounds, tick, at_ms)
        self._seen: defaultdict[str, Seen] = defaultdict(lambda: Seen(KNOWN_IDS))
        self._seen |= {stream: Seen(KNOWN_IDS, ids) for stream, ids in found.event_ids.items()}
        self._letters_seen = Seen(KNOWN_IDS, found.letters)
        self._newest_ms = max((position.at_ms for position in tick.cursor), default=0)
        self._outcomes: Counter[str] = Counter()
        self._letters: Counter[str] = Counter()
        self._drifted: Counter[str] = Counter()

    @property
    def number(self) -> int:
        """Of the next tick."""
        return self._tick.number + 1

    @property
    def heard_ms(self) -> int:
        """The watermark of a plain hold that the last tick left."""
        return heard_until(self._tick.heard_ms)

    def stepped(self, at_ms: int) -> None:
        """The clock was set, to `at_ms`."""
        self._heard.stepped(at_ms)

    def outs(
        self,
        items: Sequence[Item],
        control: Sequence[Any],
        more: Sequence[Out] = (),
        *,
        learned: Sequence[Out] = (),
        read_ms: int,
        all_read: bool,
    ) -> list[Out]:
        """The records of one transaction, in order. control: records of `sluice.control.v1`. more: written before the
        tick. learned: a table of holds, before the policies that may ask for it. Times: see `Heard`.
        """
        number = self.number
        policies = self._policies.current()
        outs = [*learned, *self._rules(number, policies)]
        for record in control:
            if record.value is not None:
                outs += self._told(record)
        self._patrols = policies.look_at_patrols
        for item in items:
            if isinstance(item, Message) and isinstance(item.read, PageChange):
                self._titles.note(item.read)
        for item in items:
            outs += self._item(item)
        outs += more
        self._tick = Tick(
            number=number,
            heard_ms=self._heard.until(read_ms, all_read=all_read),
            cursor=self._cursor.positions,
            control_offset=control[-1].offset + 1 if control else self._tick.control_offset,
            policies=_digest(policies),
        )
        outs += self._everywhere(KIND_TICK, self._tick.key, encode_tick(self._tick))
        return outs

    def count(self, at_ms: int) -> None:
        """Say in metrics what was committed since the last call."""
        for outcome, number in self._outcomes.items():
            metrics.RECORDS.labels(Step.SOURCE, outcome).inc(number)
        for reason, number in self._letters.items():
            metrics.DEAD_LETTERS.labels(Step.SOURCE, reason).inc(number)
        for stream, number in self._drifted.items():
            metrics.SCHEMA_DRIFT.labels(stream).inc(number)
        for stream, number in self._gaps.items():
            metrics.GAPS.labels(stream).inc(number)
        for counter in (self._outcomes, self._letters, self._drifted, self._gaps):
            counter.clear()
        for stream, heard_ms in self._tick.heard_ms.items():
            if stream in metrics.STREAMS:
                metrics.HEARD_UNTIL.labels(stream).set(heard_ms / 1000)
        if self._newest_ms:
            metrics.LAST_EVENT.labels(Step.SOURCE).set(self._newest_ms / 1000)
            # Caught up, an old last event means that there is none younger.
            lag_ms = 0 if self._heard.caught_up(at_ms) else max(0, at_ms - self._newest_ms)
            metrics.LAG_SECONDS.labels(Step.SOURCE).set(lag_ms / 1000)

    def _rules(self, number: int, policies: Policies) -> Iterator[Out]:
        """The policies, wherever they differ from those of the last tick."""
        digest = _digest(policies)
        if digest != self._tick.policies:
            key = f"control:policies:{digest}:{number}".encode()
            yield from self._everywhere(KIND_CONTROL, key, encode_policies(policies))

    def _told(self, record: Any) -> list[Out]:
        """One record of `sluice.control.v1`."""
        kind = control_kind(record.value)
        if kind == ENDPOINT:
            return []
        if kind != RECONCILED:
            return self._everywhere(KIND_CONTROL, b"control:%d:%b" % (record.offset, record.key or b""), record.value)
        # What it says may be hidden one day; from then on it is looked for in the log and in the dead letters alone.
        gone = Out(topic=self._topics.control, key=record.key or b"", value=None, partition=record.partition)
        try:
            data = decode_reconciled(record.value).event
            outs = list(self._event(decode_event(data), data, [("reconciled", b"1")]))
            self._outcomes["reconciled"] += bool(outs)
            return [*outs, gone]
        except InvalidRecord as exc:
            problem = InvalidEvent(SetAside.WRONG_RECORD, str(exc))
        except InvalidEvent as exc:
            problem = exc
        return [*self._letter(record.value, problem), gone]

    def _item(self, item: Item) -> Iterator[Out]:
        if isinstance(item, Message):
            yield from self._message(item)
        elif isinstance(item, Opened):
            self._heard.opened(item.at_ms)
            self._opened_ms = item.at_ms
        elif isinstance(item, Named):
            self._cursor.take(item.new)
            for topic in item.topics:
                self._heard.name(topic)
        elif isinstance(item, Closed):
            self._heard.closed(planned=item.reason == "age")
            if item.reason == "rewind":
                self._cursor.forget_offsets()

    def _message(self, message: Message) -> Iterator[Out]:
        self._outcomes["in"] += 1
        if message.meta is not None:
            yield from self._lost(message.meta)
            self._cursor.move(message.meta, message.at_ms)
        if isinstance(message.read, InvalidEvent):
            yield from self._letter(message.data, message.read, message.meta.event_id if message.meta else "")
            return
        meta = message.read.meta
        # Of what we drop and of what we know already, too: it shows that the topic speaks.
        self._heard.message(meta.topic, meta.at_ms, message.at_ms)
        if meta.drifts:
            self._drifted[meta.stream] += 1
        for out in self._event(message.read, message.data):
            self._newest_ms = max(self._newest_ms, min(meta.at_ms, message.at_ms))
            yield out

    def _lost(self, meta: Meta) -> Iterator[Out]:
        """Where the server no longer has what we want to read on with, the gate is told; once, as the cursor moves."""
        span, stream = self._cursor.lost(meta, self._opened_ms), stream_of(meta.topic)
        if span is not None and stream is not None:
            gap = Gap(from_ms=span[0], to_ms=span[1], stream=stream)
            log.error("the source lost %s between %s and %s", meta.topic, rfc3339(gap.from_ms), rfc3339(gap.to_ms))
            self._gaps[stream] += 1
            key = f"control:gap:{meta.topic}:{gap.from_ms}-{gap.to_ms}:{self._tick.number + 1}".encode()
            yield from self._everywhere(KIND_CONTROL, key, encode_gap(gap))

    def _event(self, event: Event, data: bytes, marks: Sequence[tuple[str, bytes]] = ()) -> Iterator[Out]:
        meta = event.meta
        to = route(
            event,
            self._settings.wikis,
            self._settings.partitions,
            all_changes=self._all_changes,
            titles=self._titles,
            patrols=self._patrols,
        )
        if isinstance(to, str):
            self._outcomes[to] += 1
        elif not self._seen[meta.stream].add(meta.event_id):
            self._outcomes["repeat"] += 1
        else:
            self._outcomes["out"] += 1
            headers = [("kind", KIND_EVENT), ("stream", meta.stream.encode()), ("at_ms", b"%d" % meta.at_ms), *marks]
            for partition in to.partitions:
                yield self._out(partition, to.key, data, headers)

    def _letter(self, data: bytes, problem: InvalidEvent, event_id: str = "") -> Iterator[Out]:
        origin = f"sse:{hashlib.sha256(data).hexdigest()}"
        # Another cluster gives the same message another offset, and so other bytes.
        if not self._letters_seen.add(event_id or origin):
            self._outcomes["repeat"] += 1
            return
        self._letters[problem.reason] += 1
        letter = DeadLetter(step=Step.SOURCE, reason=problem.reason, detail=problem.detail, origin=origin, payload=data)
        log.warning("a message is set aside: %s (%d bytes)", problem, len(data))
        yield letter_out(self._topics.deadletter, letter)

    def _everywhere(self, kind: bytes, key: bytes, value: bytes) -> list[Out]:
        return [self._out(p, key, value, [("kind", kind)]) for p in range(self._settings.partitions)]

    def _out(self, partition: int, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> Out:
        return Out(topic=self._topics.source, key=key, value=value, partition=partition, headers=headers)


def _digest(policies: Policies) -> str:
    return hashlib.sha256(encode_policies(policies)).hexdigest()[:16]
