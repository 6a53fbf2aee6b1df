"""What becomes of one message of the source: dropped, or written where and under which key. Pure.

Everything about a page goes to the page's partition. A log action (patrol, review, block, protect, merge) carries no
page id, so that any page may need it: it goes to every partition. An edit that was patrolled when it was made carries
none either; its page's event comes at the same time, so that `Titles` nearly always knows it.

Of recent changes we need the log actions that no other stream tells of, and of edits whether they were patrolled when
they were made. The rest repeats what page_change says, or (categorize, external) is no change of the page; it is
dropped and counted, unless all of it is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from processors.cursor import stream_of
from processors.digest import murmur2, page_partition
from schemas.event import Canary, Event, Meta, PageChange, RecentChange, milliseconds

# `rights`, `globalauth` and `gblblock` say of users what `block` says.
LOG_TYPES = frozenset(
    {"patrol", "review", "stable", "protect", "block", "rights", "globalauth", "gblblock", "delete", "move", "merge"}
)
TITLES = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """key: names the record on `sluice.source.v1`, `wiki:page:rev:event id`, parts empty where the event has none."""

    key: bytes
    partitions: tuple[int, ...]


class Titles:
    """The ids of the pages that were edited last, by title."""

    def __init__(self, most: int = TITLES) -> None:
        self._most = most
        self._ids: dict[tuple[str, str], int] = {}

    def note(self, event: PageChange) -> None:
        key = event.wiki, event.title
        self._ids.pop(key, None)
        self._ids[key] = event.page_id
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]

    def of(self, event: RecentChange) -> int | None:
        """None: not known."""
        return self._ids.get((event.wiki, event.title.replace(" ", "_")))


def route(
    event: Event,
    wikis: Collection[str],
    partitions: int,
    *,
    all_changes: bool = True,
    titles: Titles | None = None,
    patrols: bool = False,
) -> Route | str:
    """Where an event goes, or the outcome under which it is counted as dropped: `canary`, `other_wiki`, `not_needed`.

    wikis: those to keep; empty keeps all. all_changes: keep recent changes that nothing here needs, too. patrols: a
    rule looks at patrols, so that one whose page is not known goes to every partition.
    """
    if isinstance(event, Canary):
        return "canary"
    if wikis and event.wiki not in wikis:
        return "other_wiki"
    if not isinstance(event, RecentChange):
        key = f"{event.wiki}:{event.page_id}:{event.rev_id}:{event.meta.event_id}"
        return Route(key=key.encode(), partitions=(page_partition(event.wiki, event.page_id, partitions),))
    if not all_changes and not _needed(event):
        return "not_needed"
    if event.is_log:
        return Route(key=f"{event.wiki}:::{event.meta.event_id}".encode(), partitions=tuple(range(partitions)))
    key = f"{event.wiki}::{event.rev_id or ''}:{event.meta.event_id}"
    if event.patrolled and (page_id := titles.of(event) if titles is not None else None):
        return Route(key=key.encode(), partitions=(page_partition(event.wiki, page_id, partitions),))
    if event.patrolled and patrols:
        return Route(key=key.encode(), partitions=tuple(range(partitions)))
    return Route(key=key.encode(), partitions=(murmur2(f"{event.wiki}:{event.title}".encode()) % partitions,))


def _needed(event: RecentChange) -> bool:
    if event.is_log:
        return event.log_type in LOG_TYPES
    return event.type in {"edit", "new"} and event.patrolled is not None


def event_id_of_key(key: bytes) -> str:
    """The event id in a key that `route` made."""
    return key.split(b":", 3)[3].decode()


def lenient_meta(payload: bytes) -> Meta | None:
    """Time and place of a message that `decode_event` refused, so that the cursor can pass it; None if it has none.

    The event id is "" where it is no text; the domain is not looked at.
    """
    try:
        meta: Any = orjson.loads(payload.decode("utf-8", "replace"))["meta"]
        topic, partition, offset = meta["topic"], meta["partition"], meta["offset"]
        at_ms, event_id = milliseconds(meta["dt"]), meta.get("id")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError):
        return None
    stream = stream_of(topic) if isinstance(topic, str) else None
    if stream is None or type(partition) is not int or type(offset) is not int:
        return None
    return Meta(
        event_id=event_id if isinstance(event_id, str) else "",
        stream=stream,
        domain="",
        at_ms=at_ms,
        topic=topic,
        partition=partition,
        offset=offset,
    )


class Seen:
    """The newest `most` ids, so that a repeat is known. The source repeats an event within minutes, if at all."""

    def __init__(self, most: int, ids: Iterable[str] = ()) -> None:
        self._most = most
        self._ids: dict[str, None] = {}
        for each in ids:
            self.add(each)

    def add(self, each: str) -> bool:
        """Whether it is new. One that is seen again counts as new among the old ones."""
        new = each not in self._ids
        self._ids.pop(each, None)
        self._ids[each] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        return new
