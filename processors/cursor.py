"""Where to read on in each upstream topic, and how a server is told so and held to it. Pure.

Upstream, a topic is `datacentre.stream` with one partition. The server's own ids carry producer timestamps, which do
not grow with the offsets, so that resuming by them loses events; we keep the offset of the last message instead, and
its id. Offsets belong to one Kafka cluster, however, and the next connection may reach another datacentre's. So we ask
for the last message again: if it is what comes first, the cluster is the same, and it is dropped; if anything else
comes, every topic is resumed by time, a minute back, and what comes twice is dropped by its event id.

A server that still has what we want then begins with our last message or one before it. Where it begins with a younger
one, what lay between is gone: `Cursor.lost`.

Source: KafkaSSE, lib/KafkaSSE.js; Wikimedia EventStreams, `Last-Event-ID`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from enum import Enum
from functools import lru_cache

import orjson

from schemas.event import READABLE, Meta
from schemas.log import Position

# How far a resumption by time goes back: producer clocks and clusters differ by seconds.
REWIND_MS = 60_000
# Offsets that are never served (control records, undecodable ones) come in runs of about ten. A server that no longer
# has our offset goes on at its newest message, far ahead.
MAX_GAP = 1000
# Kafka's are signed 64-bit numbers.
MAX_OFFSET = 2**63 - 1
# No message seen: read on by time.
NO_OFFSET = -1


class Meets(Enum):
    """What the first message of a topic on a new connection is: the one after our last, our last one, or neither."""

    NEXT = "next"
    LAST = "last"
    OTHER = "other"


@lru_cache(maxsize=1024)
def stream_of(topic: str) -> str | None:
    """The stream of an upstream topic, None if it is none of ours.

    >>> stream_of("codfw.mediawiki.page_change.v1")
    'mediawiki.page_change.v1'
    """
    return next((stream for stream in READABLE if topic == stream or topic.endswith(f".{stream}")), None)


def topics_of_id(sse_id: str | bytes) -> list[tuple[str, int]]:
    """The (topic, partition) pairs in the id of a server-sent event: all that the connection is subscribed to.

    [] where the id is of another form. Only the names are used, see above.
    """
    try:
        entries = orjson.loads(sse_id)
    except orjson.JSONDecodeError:
        return []
    found = []
    for entry in entries if isinstance(entries, list) else ():
        topic, partition = (entry.get("topic"), entry.get("partition")) if isinstance(entry, dict) else (None, None)
        if isinstance(topic, str) and isinstance(partition, int) and stream_of(topic) is not None:
            found.append((topic, partition))
    return found


class Cursor:
    """One `Position` per upstream topic. What it is told must be in the log, or be lost with this object."""

    def __init__(self, positions: Iterable[Position] = ()) -> None:
        self._positions = {position.topic: position for position in positions}

    @property
    def positions(self) -> tuple[Position, ...]:
        return tuple(self._positions.values())

    def unknown(self, topics: Iterable[tuple[str, int]], begin_ms: int) -> tuple[Position, ...]:
        """Those of `topics` that are not met yet, to be read from `begin_ms` on.

        A topic that is idle now must be in the next request too, by time: the request's list replaces the server's,
        and the topic may be the active one by then.
        """
        return tuple(
            Position(topic=topic, partition=partition, next_offset=NO_OFFSET, at_ms=begin_ms)
            for topic, partition in topics
            if topic not in self._positions
        )

    def take(self, positions: Iterable[Position]) -> None:
        """Note topics that are not met yet."""
        for position in positions:
            self._positions.setdefault(position.topic, position)

    def move(self, meta: Meta, now_ms: int) -> None:
        """Behind this message, which came at `now_ms`. One without a place upstream moves nothing."""
        if not 0 <= meta.offset < MAX_OFFSET or stream_of(meta.topic) is None:
            return
        before = self._positions.get(meta.topic)
        # A message from the future must not become the time from which we read on.
        at_ms = min(meta.at_ms, now_ms)
        self._positions[meta.topic] = Position(
            topic=meta.topic,
            partition=meta.partition,
            next_offset=meta.offset + 1,
            at_ms=at_ms if before is None else max(before.at_ms, at_ms),
            last_id=meta.event_id,
        )

    def meets(self, meta: Meta) -> Meets:
        """Whether the first message of a topic on a new connection is where the cursor says it should be.

        Where the last message has no id (it could not be read, or it is a canary without one) place and time must do.
        """
        last = self._positions.get(meta.topic)
        if last is None or last.next_offset < 0 or meta.offset < 0:
            return Meets.NEXT
        if last.last_id:
            same = meta.offset == last.next_offset - 1 and meta.event_id == last.last_id
            return Meets.LAST if same else Meets.OTHER
        gap = meta.offset - last.next_offset
        near = 0 <= gap <= MAX_GAP and meta.at_ms >= last.at_ms - REWIND_MS
        return Meets.NEXT if near else Meets.OTHER

    def forget_offsets(self) -> None:
        """The offsets are another cluster's: read on by time, all topics. The ids stay, and say which ones spoke."""
        for topic, p in self._positions.items():
            self._positions[topic] = replace(p, next_offset=NO_OFFSET)

    def lost(self, meta: Meta, opened_ms: int) -> tuple[int, int] | None:
        """The span of event time that the server no longer has, if `meta` is the first of its topic after a rewind.

        opened_ms: when the connection began: what came after that is not lost. None where nothing is. A topic that
        never spoke may have had nothing to lose.
        """
        last = self._positions.get(meta.topic)
        if last is None or last.next_offset >= 0 or not last.last_id:
            return None
        to_ms = min(meta.at_ms, opened_ms)
        return (last.at_ms, to_ms) if to_ms > last.at_ms else None

    def last_event_id(self, streams: Collection[str], begin_ms: int) -> str:
        """The header `Last-Event-ID` for a request for `streams`, or "" where nothing is known.

        The list replaces the server's: a topic of a stream that is not asked for is refused, and a stream without a
        topic in it brings nothing, in silence. So a stream that was not followed before is read from `begin_ms` on, in
        each datacentre that we know. Each entry has one of offset and timestamp, never both, and never the -1 that
        stands for "latest".
        """
        asked = [p for p in self._positions.values() if stream_of(p.topic) in streams]
        met = {stream_of(p.topic) for p in asked}
        prefixes = {p.topic.removesuffix(stream_of(p.topic) or "") for p in asked}
        asked += [
            Position(topic=prefix + stream, partition=0, next_offset=NO_OFFSET, at_ms=begin_ms)
            for stream in streams
            if stream not in met
            for prefix in prefixes
        ]
        return orjson.dumps([_entry(p) for p in sorted(asked, key=lambda p: p.topic)]).decode() if asked else ""


def _entry(p: Position) -> dict[str, object]:
    entry: dict[str, object] = {"topic": p.topic, "partition": p.partition}
    if p.next_offset < 0:
        return entry | {"timestamp": max(0, p.at_ms - REWIND_MS)}
    return entry | {"offset": p.next_offset - 1 if p.last_id else p.next_offset}
