"""Heard-until: per stream, the event time up to which we believe we have heard everything. Pure; `now` is an argument.

An upstream topic (`datacentre.stream`) is moved by its own messages, event or canary: to min(their time, now), never
back. While the connection is *caught up* (for `caught_up_ms` every message on it was younger than `quiet_ms`, and at
least one came) silence means that there is nothing to hear, and every topic is heard until now - `quiet_ms`. Not so a
topic that spoke once and has not for `deaf_ms`: it is *deaf* and stays where it was. A stream is heard until the
minimum of its topics that count.

Which topics count? All that ever spoke. A topic that the server names but that never spoke (the idle datacentre before
its first canary; the only one, forever, on a server whose second datacentre is empty) is the question:

- *Catching up*, it holds its stream back. The server reads its topics one by one, so the silent one may be the one
  with the backlog, and the minimum over the others would run ahead of it.
- *Caught up*, it does not count. The server serves what there is within seconds and this topic had nothing; to wait
  for it would mean that on such a server nothing is ever released. Should it speak late, that retracts.

A stream of which no topic ever spoke has no heard-until at all, and nothing that needs it is released.

A connection that we end ourselves, before the server would, and make anew at once is the same one as far as *caught up*
goes, once a message came on it: had it been away for `quiet_ms`, it would not be. A clock that was set begins the
`caught_up_ms` anew.

After a restart: the last tick has each stream's heard-until, a lower bound for each of its topics, and per topic the
time of its last message, which also tells whether it is deaf. So deafness is by event time, and a restart neither
takes anything back nor makes a deaf topic hear for another `deaf_ms`. A world that runs in the past is never caught up,
and moves by its own events and canaries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from processors.cursor import stream_of
from schemas.log import Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """quiet_ms: how far behind now a caught-up stream is taken to be heard, and the age of a young message.

    caught_up_ms: how long all must have been young. deaf_ms: silence after which a topic is deaf.
    """

    quiet_ms: int
    caught_up_ms: int
    deaf_ms: int


@dataclass(slots=True, kw_only=True)
class _Topic:
    """heard_ms: None before the first message. spoke_ms: event time of the last one."""

    stream: str
    heard_ms: int | None = None
    spoke_ms: int = 0


class Heard:
    """All topics of one subscription. Calls come in the order of the world; all times are Unix milliseconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._topics: dict[str, _Topic] = {}
        self._until: dict[str, int] = {}
        self._open = False
        self._planned = False
        self._young_since_ms = 0
        self._last_message_ms: int | None = None

    @classmethod
    def restored(cls, limits: Limits, tick: Tick, now_ms: int) -> Self:
        """As the last tick left it, not connected."""
        heard = cls(limits)
        heard._until = dict(tick.heard_ms)
        for position in tick.cursor:
            heard.name(position.topic)
            topic = heard._topics.get(position.topic)
            if topic is not None and position.next_offset >= 0:
                topic.spoke_ms = min(position.at_ms, now_ms)
                topic.heard_ms = max(topic.spoke_ms, heard._until.get(topic.stream, topic.spoke_ms))
        return heard

    def name(self, topic: str) -> None:
        """The server says that it serves this topic."""
        stream = stream_of(topic)
        if stream is not None:
            self._topics.setdefault(topic, _Topic(stream=stream))

    def opened(self, now_ms: int) -> None:
        """A connection begins: nothing is known of what waits on it."""
        last_ms = self._last_message_ms
        if not self._planned or last_ms is None or now_ms - last_ms >= self._limits.quiet_ms:
            self._young_since_ms = now_ms
        self._open, self._planned, self._last_message_ms = True, False, None

    def closed(self, *, planned: bool = False) -> None:
        """planned: we ended it ourselves, to make it anew at once."""
        self._open, self._planned = False, planned

    def stepped(self, now_ms: int) -> None:
        """The clock was set, to `now_ms`: how old the last messages were is not known any more."""
        self._young_since_ms, self._last_message_ms, self._planned = now_ms, None, False

    def message(self, topic: str, at_ms: int, now_ms: int) -> None:
        """An event or a canary of `at_ms` came at `now_ms`."""
        if now_ms - at_ms >= self._limits.quiet_ms:
            self._young_since_ms = now_ms
        self._last_message_ms = now_ms
        self.name(topic)
        known = self._topics.get(topic)
        if known is not None:
            known.spoke_ms = max(known.spoke_ms, min(at_ms, now_ms))
            known.heard_ms = max(known.heard_ms or 0, min(at_ms, now_ms))

    def caught_up(self, now_ms: int) -> bool:
        if not self._open or self._last_message_ms is None:
            return False
        span = self._limits.caught_up_ms
        return now_ms - self._young_since_ms >= span and now_ms - self._last_message_ms < span

    def until(self, now_ms: int, *, all_read: bool = True) -> dict[str, int]:
        """Stream → heard-until. It never goes back.

        now_ms: a moment such that every message which had come by then was given to `message`. all_read: False if
        more is known to wait; then nothing is moved by silence.
        """
        caught_up = all_read and self.caught_up(now_ms)
        if caught_up:
            for topic in self._topics.values():
                if topic.heard_ms is not None and now_ms - topic.spoke_ms <= self._limits.deaf_ms:
                    topic.heard_ms = max(topic.heard_ms, now_ms - self._limits.quiet_ms)
        for stream in {topic.stream for topic in self._topics.values()}:
            at_ms = self._minimum(stream, caught_up=caught_up)
            if at_ms is not None:
                self._until[stream] = max(self._until.get(stream, at_ms), at_ms)
        return dict(self._until)

    def _minimum(self, stream: str, *, caught_up: bool) -> int | None:
        heard = [topic.heard_ms for topic in self._topics.values() if topic.stream == stream]
        spoken = [at_ms for at_ms in heard if at_ms is not None]
        if not spoken or (len(spoken) < len(heard) and not caught_up):
            return None
        return min(spoken)
