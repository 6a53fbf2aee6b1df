"""The log behind the simulated streams: messages of several topics in the order of the world, and where readers begin.

Resumption follows the real server: by offset, or by the first message that is not older than a timestamp, which loses
what shares the millisecond of the last event.

Source: mediawiki/services/eventstreams and KafkaSSE.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

LATEST = -1


@dataclass(frozen=True, slots=True)
class Message:
    """One message in the order of the world. data: what stands behind `data: `, one line."""

    topic: str
    offset: int
    at_ms: int
    data: bytes


class StreamLog:
    """kept: how many messages are kept at least; None = all. base: the number of `messages[0]`, counted from 0."""

    def __init__(self, topics: Iterable[str], kept: int | None = None) -> None:
        self.messages: list[Message] = []
        self.base = 0
        self._kept = kept
        self._sizes = dict.fromkeys(topics, 0)
        # Of each topic, per message: the latest time so far, its offset, its number.
        self._peaks = {topic: array("q") for topic in self._sizes}
        self._offsets = {topic: array("q") for topic in self._sizes}
        self._numbers = {topic: array("q") for topic in self._sizes}

    @property
    def topics(self) -> list[str]:
        return list(self._sizes)

    @property
    def end(self) -> int:
        """The number that the next message will have."""
        return self.base + len(self.messages)

    def size(self, topic: str) -> int:
        """The offset that the next message of `topic` will have."""
        return self._sizes[topic]

    def append(self, message: Message) -> None:
        peaks = self._peaks[message.topic]
        peaks.append(max(message.at_ms, peaks[-1]) if peaks else message.at_ms)
        self._offsets[message.topic].append(message.offset)
        self._numbers[message.topic].append(self.end)
        self.messages.append(message)
        self._sizes[message.topic] = message.offset + 1
        if self._kept is not None and len(self.messages) > self._kept + self._kept // 4:
            self._forget(len(self.messages) - self._kept)

    def _forget(self, count: int) -> None:
        del self.messages[:count]
        self.base += count
        for topic, numbers in self._numbers.items():
            old = bisect_left(numbers, self.base)
            del numbers[:old], self._offsets[topic][:old], self._peaks[topic][:old]

    def since(self, topic: str, at_ms: int) -> int:
        """The offset of the first message that is not older; the next one to come if there is none."""
        at = bisect_left(self._peaks[topic], at_ms)
        offsets = self._offsets[topic]
        return offsets[at] if at < len(offsets) else self._sizes[topic]

    def number(self, topic: str, offset: int) -> int:
        """The number of the first message of `topic` from `offset` on."""
        at = bisect_left(self._offsets[topic], offset)
        numbers = self._numbers[topic]
        return numbers[at] if at < len(numbers) else self.end


class Subscription:
    """One connection: which topics from where, and the id of each event. start: the number of the first message."""

    def __init__(self, log: StreamLog, topics: Sequence[str], assignments: Sequence[Mapping[str, Any]]) -> None:
        self._from: dict[str, int] = {}
        self._state: dict[str, dict[str, Any]] = {
            topic: {"topic": topic, "partition": 0, "offset": LATEST} for topic in topics
        }
        by_time = any(_only_time(assignment) for assignment in assignments)
        for assignment in assignments:
            topic = assignment["topic"]
            if assignment.get("offset") is not None:
                # Beside one that has a time alone, those that have both are dropped.
                if by_time and assignment.get("timestamp") is not None:
                    continue
                offset = assignment["offset"]
                # An offset that is not there any more, or not yet, is answered with what comes next.
                known = 0 <= offset <= log.size(topic)
                self._from[topic] = offset if known else log.size(topic)
                self._state[topic] = {"topic": topic, "partition": 0, "offset": offset}
            else:
                at_ms = assignment["timestamp"]
                self._from[topic] = log.since(topic, at_ms)
                self._state[topic] = {"topic": topic, "partition": 0, "timestamp": at_ms}
        self.start = min((log.number(topic, offset) for topic, offset in self._from.items()), default=log.end)
        self._ids = {topic: orjson.dumps(state) for topic, state in self._state.items()}

    def wants(self, message: Message) -> bool:
        start = self._from.get(message.topic)
        return start is not None and message.offset >= start

    def frame(self, message: Message) -> bytes:
        """The event as it is written, or nothing where it is not asked for."""
        if not self.wants(message):
            return b""
        self._ids[message.topic] = b'{"topic":"%b","partition":0,"timestamp":%d}' % (
            message.topic.encode(),
            message.at_ms + 1,
        )
        return b"event: message\nid: [" + b",".join(self._ids.values()) + b"]\ndata: " + message.data + b"\n\n"

    def line(self, message: Message) -> bytes:
        """The event as a line of JSON alone, for those who accept nothing else."""
        return message.data + b"\n" if self.wants(message) else b""


def _only_time(assignment: Mapping[str, Any]) -> bool:
    return assignment.get("timestamp") is not None and assignment.get("offset") is None
