"""The ledger of the simulated wiki, read: what the world did, offered and served.

Append-only NDJSON, one object a line, in the order of the world. Kinds: `world` (the first line), `did` (the truth),
`offered` (an event as served, canaries too), `served` (a revision answered by the API); others are passed over.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from schemas.event import (
    Canary,
    Event,
    InvalidEvent,
    PageChange,
    Prediction,
    RecentChange,
    TagsChange,
    VisibilityChange,
    decode_event,
)

KeptEvent = PageChange | TagsChange | VisibilityChange | RecentChange | Prediction
# Of users and whole wikis, too: what is not of a page may concern any.
NEEDED_LOGS = frozenset(
    {"patrol", "review", "stable", "protect", "block", "rights", "globalauth", "gblblock", "delete", "move", "merge"}
)


class InvalidLedger(ValueError):
    """A file that is no ledger; the message names the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One message of the source. number: its place in the order offered. event: None where nobody can read it.

    doc: as JSON, None for bytes that are none. raw: those bytes.
    """

    number: int
    at_ms: int
    topic: str
    offset: int
    event: Event | None
    doc: Mapping[str, Any] | None = None
    raw: bytes | None = None

    @property
    def event_id(self) -> str:
        return "" if self.event is None else self.event.meta.event_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """Something that happened on a wiki, whatever was said about it."""

    at_ms: int
    wiki: str
    page_id: int | None
    title: str | None
    rev_id: int | None
    what: str
    how: str | None
    undoes: tuple[int, ...]
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answer of the API. answer: text, hidden, missing or wrong_text."""

    domain: str
    rev_id: int
    answer: str
    sha256: str | None


@dataclass(frozen=True)
class Ledger:
    """The whole of it. wikis, streams: those that the line keeps; empty = all. all_changes: see `read_ledger`."""

    world: Mapping[str, Any]
    offered: tuple[Offered, ...] = ()
    did: tuple[Did, ...] = ()
    served: tuple[Served, ...] = ()
    wikis: frozenset[str] = field(default=frozenset())
    streams: frozenset[str] = field(default=frozenset())
    all_changes: bool = True

    @cached_property
    def kept(self) -> tuple[Offered, ...]:
        """What must reach the log: every readable event but canaries and other wikis', each id once."""
        kept: dict[str, Offered] = {}
        for each in self.offered:
            if each.event is not None and not isinstance(each.event, Canary) and self._wanted(each.event):
                kept.setdefault(each.event_id, each)
        return tuple(kept.values())

    @cached_property
    def by_id(self) -> Mapping[str, Offered]:
        return {each.event_id: each for each in self.kept}

    @cached_property
    def copies(self) -> Mapping[str, tuple[Offered, ...]]:
        """Event id → each time that it was offered."""
        found: dict[str, list[Offered]] = {}
        for each in self.offered:
            found.setdefault(each.event_id, []).append(each)
        return {event_id: tuple(copies) for event_id, copies in found.items()}

    @cached_property
    def unreadable(self) -> tuple[Offered, ...]:
        return tuple(each for each in self.offered if each.event is None)

    @cached_property
    def answers(self) -> Mapping[tuple[str, int], tuple[Served, ...]]:
        """(domain, revision) → every answer about it."""
        found: dict[tuple[str, int], list[Served]] = {}
        for each in self.served:
            found.setdefault((each.domain, each.rev_id), []).append(each)
        return {key: tuple(answers) for key, answers in found.items()}

    def about(self, wiki: str, page_id: int) -> tuple[Offered, ...]:
        """The page's events, in the order offered."""
        return self._pages.get((wiki, page_id), ())

    @cached_property
    def _pages(self) -> Mapping[tuple[str, int], tuple[Offered, ...]]:
        pages: dict[tuple[str, int], list[Offered]] = {}
        for each in self.kept:
            if each.event is not None and not isinstance(each.event, RecentChange | Canary):
                pages.setdefault((each.event.wiki, each.event.page_id), []).append(each)
        return {key: tuple(events) for key, events in pages.items()}

    def _wanted(self, event: KeptEvent) -> bool:
        if (self.wikis and event.wiki not in self.wikis) or (self.streams and event.meta.stream not in self.streams):
            return False
        return self.all_changes or not isinstance(event, RecentChange) or _is_needed(event)


def read_ledger(
    lines: Iterable[bytes], *, wikis: Iterable[str] = (), streams: Iterable[str] = (), all_changes: bool = True
) -> Ledger:
    """wikis, streams: those that the line keeps; empty = all. all_changes: also recent changes of which it has no need:
    what is neither a log action that no other stream tells of, nor an edit that says whether it was patrolled.

    Raises `InvalidLedger`.

    A last line that was cut off, as one that is being written is, is passed over.
    """
    offered: list[Offered] = []
    did: list[Did] = []
    served: list[Served] = []
    world: Mapping[str, Any] | None = None
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            doc = orjson.loads(line)
            kind = doc["kind"]
            if world is None:
                if kind != "world" or doc["version"] != 1:
                    raise InvalidLedger("the first line names no world of version 1")
                world = doc
            elif kind == "offered":
                offered.append(_offered(len(offered), doc))
            elif kind == "did":
                did.append(_did(doc))
            elif kind == "served":
                served.append(
                    Served(domain=doc["domain"], rev_id=doc["rev_id"], answer=doc["answer"], sha256=doc["sha256"])
                )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            raise InvalidLedger(f"line {number} of the ledger: {exc!r:.200}") from exc
    if world is None:
        raise InvalidLedger("the ledger is empty")
    return Ledger(
        world, tuple(offered), tuple(did), tuple(served), frozenset(wikis), frozenset(streams), all_changes=all_changes
    )


def _is_needed(change: RecentChange) -> bool:
    """Patrols, reviews, protections, blocks, rights, deletions, moves, merges; edits with their `patrolled` flag."""
    if change.type == "log":
        return change.log_type in NEEDED_LOGS
    return change.type in {"edit", "new"} and change.patrolled is not None


def _offered(number: int, doc: Mapping[str, Any]) -> Offered:
    place: dict[str, Any] = {"number": number, "at_ms": doc["at_ms"], "topic": doc["topic"], "offset": doc["offset"]}
    if "event" not in doc:
        return Offered(**place, event=None, raw=base64.b64decode(doc["bytes_base64"]))
    try:
        event = decode_event(orjson.dumps(doc["event"]))
    except InvalidEvent:
        return Offered(**place, event=None, doc=doc["event"])
    return Offered(**place, event=event, doc=doc["event"])


def _did(doc: Mapping[str, Any]) -> Did:
    return Did(
        at_ms=int(doc["at_ms"]),
        wiki=doc["wiki"],
        page_id=doc["page_id"],
        title=doc["title"],
        rev_id=doc["rev_id"],
        what=doc["what"],
        how=doc["how"],
        undoes=tuple(doc["undoes"]),
        user=doc["user"],
    )
