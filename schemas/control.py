"""Records of `sluice.control.v1` beside the policies: what people and tools tell the source.

`endpoint`: which endpoint of the source to ask; the source obeys and does not copy it, since it decides nothing.
`reconciled`: an event that the source never sent, made from what the content API says; it enters the log like an event,
marked by a header. Every other kind is copied into every partition of the log as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas.log import InvalidRecord

ENDPOINT = "endpoint"
RECONCILED = "reconciled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """event: a `mediawiki.page_change.v1` event without a place upstream, as the log will hold it."""

    event: bytes


def control_kind(payload: bytes) -> str:
    """The kind of a control record; "" where it has none that can be read."""
    try:
        kind: Any = orjson.loads(payload)["kind"]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return ""
    return kind if isinstance(kind, str) else ""


def encode_endpoint(choice: str) -> bytes:
    return orjson.dumps({"choice": choice, "kind": ENDPOINT})


def decode_endpoint(payload: bytes) -> str:
    """Raises `InvalidRecord`."""
    choice = _field(payload, "choice")
    if not isinstance(choice, str):
        raise InvalidRecord("an endpoint record without a choice")
    return choice


def encode_reconciled(record: Reconciled) -> bytes:
    return orjson.dumps({"event": orjson.Fragment(record.event), "kind": RECONCILED})


def decode_reconciled(payload: bytes) -> Reconciled:
    """Raises `InvalidRecord`."""
    event = _field(payload, "event")
    if not isinstance(event, dict):
        raise InvalidRecord("a reconciled record without an event")
    return Reconciled(event=orjson.dumps(event))


def _field(payload: bytes, name: str) -> Any:
    try:
        return orjson.loads(payload)[name]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as exc:
        raise InvalidRecord(f"no {name}: {exc!r}") from exc
