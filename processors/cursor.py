"""Where to read on in each upstream topic, and how a server is told so and held to it. Pure.

Upstream, a topic is `datacentre.stream` with one partition. The server's own ids carry producer timestamps, which do
not grow with the offsets, so that resuming by them loses events; we keep the offset after the last message instead.
Offsets belong to one Kafka cluster, however, and the next connection may reach another datacentre's: then every topic
is resumed by time, a minute back, and what comes twice is dropped by its event id.

Source: KafkaSSE, lib/KafkaSSE.js; Wikimedia EventStreams, `Last-Event-ID`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def stream_of(topic: str) -> str | None:
    """The stream of an upstream topic, None if it is none of ours.

    >>> stream_of("codfw.mediawiki.page_change.v1")
    'mediawiki.page_change.v1'
    """
    return next((stream for stream in READABLE if topic == stream or topic.endswith(f".{stream}")), None)


def topics_of_id(sse_id: str) -> list[tuple[str, int]]:
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

    def name(self, topics: Sequence[tuple[str, int]], begin_ms: int) -> tuple[Position, ...]:
        """Note that topics exist; what they say from `begin_ms` on is not in the log. Returns those that are new.

        A topic that is idle now must be in the next request too, by time: the request's list replaces the server's,
        and the topic may be the active one by then.
        """
        new = tuple(
            Position(topic=topic, partition=partition, next_offset=NO_OFFSET, at_ms=begin_ms)
            for topic, partition in topics
            if topic not in self._positions
        )
        self.take(new)
        return new

    def take(self, positions: Iterable[Position]) -> None:
        """Note positions that another cursor returned from `name`."""
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
        )

    def agrees(self, meta: Meta) -> bool:
        """Whether the first message of a topic on a new connection is where the cursor says it should be."""
        expected = self._positions.get(meta.topic)
        if expected is None or expected.next_offset < 0 or meta.offset < 0:
            return True
        gap = meta.offset - expected.next_offset
        return 0 <= gap <= MAX_GAP and meta.at_ms >= expected.at_ms - REWIND_MS

    def forget_offsets(self) -> None:
        """The offsets are another cluster's: read on by time, all topics."""
        for topic, p in self._positions.items():
            self._positions[topic] = Position(topic=topic, partition=p.partition, next_offset=NO_OFFSET, at_ms=p.at_ms)

    def last_event_id(self) -> str:
        """The header `Last-Event-ID`, or "" where nothing is known.

        Each entry has one of offset and timestamp, never both, and never the -1 that stands for "latest".
        """
        entries: list[dict[str, object]] = []
        for p in sorted(self._positions.values(), key=lambda p: p.topic):
            entry: dict[str, object] = {"topic": p.topic, "partition": p.partition}
            if p.next_offset >= 0:
                entry["offset"] = p.next_offset
            else:
                entry["timestamp"] = max(0, p.at_ms - REWIND_MS)
            entries.append(entry)
        return orjson.dumps(entries).decode() if entries else ""
