"""`sluice.gate-state.v1`: what the gate knows of one page. Key `wiki:page`; the partition's policies lie beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.decision import Signal, decode_signal, encode_signal
from schemas.log import InvalidRecord
from schemas.reasons import State

POLICIES_KEY = b"~policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A revision in the ring; sha1 is base-36 or None (hidden)."""

    rev_id: int
    sha1: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One edit, in one epoch, and where it stands under each policy.

    start_ms: when its hold began. user: a one-way key of its editor, or None (not known).
    """

    rev_id: int
    epoch: int
    event_id: str
    start_ms: int
    user: str | None
    states: Mapping[str, State]
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A signal about a revision that no event has announced yet."""

    rev_id: int
    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """ring: the last revisions, oldest first. edits: every edit within the horizon, in the order observed."""

    wiki: str
    page_id: int
    ring: tuple[Seen, ...] = ()
    edits: tuple[Edit, ...] = ()
    waiting: tuple[Waiting, ...] = field(default=())

    @property
    def key(self) -> bytes:
        return page_key(self.wiki, self.page_id)


def page_key(wiki: str, page_id: int) -> bytes:
    return f"{wiki}:{page_id}".encode()


def encode_page(page: Page) -> bytes:
    return orjson.dumps(
        {
            "edits": [
                {
                    "epoch": e.epoch,
                    "event_id": e.event_id,
                    "rev_id": e.rev_id,
                    "signals": [encode_signal(signal) for signal in e.signals],
                    "start_ms": e.start_ms,
                    "states": {policy: state.value for policy, state in e.states.items()},
                    "user": e.user,
                }
                for e in page.edits
            ],
            "page_id": page.page_id,
            "ring": [[seen.rev_id, seen.sha1] for seen in page.ring],
            "waiting": [[w.rev_id, encode_signal(w.signal)] for w in page.waiting],
            "wiki": page.wiki,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def decode_page(payload: bytes) -> Page:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        return Page(
            wiki=str(doc["wiki"]),
            page_id=int(doc["page_id"]),
            ring=tuple(Seen(rev_id=int(rev_id), sha1=sha1) for rev_id, sha1 in doc["ring"]),
            edits=tuple(_decode_edit(edit) for edit in doc["edits"]),
            waiting=tuple(Waiting(rev_id=int(rev_id), signal=decode_signal(s)) for rev_id, s in doc["waiting"]),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no page state: {exc!r}") from exc


def _decode_edit(doc: dict[str, Any]) -> Edit:
    return Edit(
        rev_id=int(doc["rev_id"]),
        epoch=int(doc["epoch"]),
        event_id=str(doc["event_id"]),
        start_ms=int(doc["start_ms"]),
        user=doc["user"],
        states={str(policy): State(state) for policy, state in doc["states"].items()},
        signals=tuple(decode_signal(signal) for signal in doc["signals"]),
    )
