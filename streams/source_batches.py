"""What the source writes for what came: the records of one transaction, in their order.

Order in every partition: control records (what was learned, see `streams.learning`, the policies, all others), events,
skeletons, tick. Where the server no longer has what we want to read on with, a gap (a control record) comes before what
is behind it.

Headers of a record: `kind` (event, tick, control); an event also has `stream` and `at_ms`, its event time, and
`reconciled` if the source never sent it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from processors.cursor import Cursor, stream_of
from processors.heard import Heard, Limits
from processors.plans import heard_until
from processors.route import Seen, Titles, route
from schemas.control import ENDPOINT, RECONCILED, control_kind, decode_reconciled
from schemas.deadletter import DeadLetter
from schemas.event import Event, InvalidEvent, Meta, PageChange, decode_event, rfc3339
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
from streams import metrics
from streams.inbox import Closed, Item, Message, Named, Opened
from streams.kafka import Out, letter_out
from streams.policy_files import Watch
from streams.settings import Settings
from streams.source_log import Found
from streams.topics import Topics

# Per stream: minutes at the peak rate of recent changes. What a rewind brings again are the last two of each topic.
KNOWN_IDS = 30_000

log = logging.getLogger("sluice.source")


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
