"""What the connection hands to the writer, in the order of the world, and the bounded place where it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from schemas.event import Event, InvalidEvent, Meta
from schemas.log import Position

# Bounds of what waits for a transaction, and so of a transaction: about 0.15 s of the broker's time.
MAX_ITEMS = 2000
MAX_BYTES = 32_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection stands. Times here are Unix milliseconds by our clock."""

    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Upstream topics that the connection serves, and, of those not met before, from when on to read them."""

    topics: tuple[str, ...]
    new: tuple[Position, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. read: the event, or what kept it from becoming one.

    data: the bytes of its data line, unchanged. meta: place and time; None only where a problem hides them.
    """

    data: bytes
    at_ms: int
    meta: Meta | None
    read: Event | InvalidEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The connection ended. reason: one of `metrics.RECONNECT_REASONS`; "rewind" means that offsets are void."""

    at_ms: int
    reason: str


Item = Opened | Named | Message | Closed


class Inbox:
    """What has come and is in no transaction yet. Whoever puts into a full one waits; that slows the server down."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._filled = False
        self._room = asyncio.Event()
        self._wake = asyncio.Event()

    async def put(self, item: Item) -> None:
        while len(self._items) >= MAX_ITEMS or self._bytes >= MAX_BYTES:
            self._filled = True
            self.wake()
            self._room.clear()
            await self._room.wait()
        self._items.append(item)
        self._bytes += len(item.data) if isinstance(item, Message) else 0

    def take(self) -> tuple[list[Item], bool]:
        """Everything, and whether that is all that has come: not so if somebody had to wait."""
        items, filled = list(self._items), self._filled
        self._items.clear()
        self._bytes, self._filled = 0, False
        self._room.set()
        return items, not filled

    def wake(self, *_: object) -> None:
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Until `seconds` have passed, it is full, or somebody wakes us."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, seconds))
        self._wake.clear()
