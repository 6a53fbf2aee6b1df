"""From a decision and an enriched record to the record that a partner reads. Pure: same input, same bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from processors.rights import rights
from schemas.decision import Decision, encode_signal
from schemas.enriched import DeltaAbsent
from schemas.event import rfc3339
from schemas.learned import Protect, Stratum
from schemas.log import InvalidRecord

EDIT_SCHEMA = "/sluice/edit/1.0.0"
RETRACTION_SCHEMA = "/sluice/retraction/1.0.0"


def release_key(decision: Decision) -> bytes:
    """`wiki:page:rev:epoch:release`: one per event and topic, and the handle by which it can be erased."""
    return _key(decision, "release")


def retract_key(decision: Decision) -> bytes:
    return _key(decision, "retract")


def release_record(decision: Decision, enriched: bytes, *, topic: str, released_at_ms: int) -> bytes:
    """An edit as it goes out.

    enriched: a record of `sluice.enriched.v1`, whose sections pass through unchanged. released_at_ms: broker time.
    Raises `InvalidRecord` where the enriched record lacks what every record must carry.
    """
    try:
        doc = orjson.loads(enriched)
        change = doc["change"]
        page = change["page"]
        domain = str(change["domain"])
        owed = rights(domain, int(page["namespace"]), str(page["title"]), decision.rev_id)
        sections = {name: doc[name] for name in SECTIONS} | {name: doc.get(name) for name in LATER_SECTIONS}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise InvalidRecord(f"no enriched record: {exc!r}") from exc
    return _dumps(
        {
            "$schema": EDIT_SCHEMA,
            "action": "release",
            "integrity": _integrity(decision, released_at_ms),
            "meta": _meta(decision, "release", topic) | {"domain": domain, "uri": change["uri"]},
            "rights": {
                "attribution": owed.attribution,
                "attribution_url": owed.attribution_url,
                "licence": owed.licence,
                "licence_url": owed.licence_url,
            },
            **sections,
        }
    )


SECTIONS = ("change", "content", "content_absent", "delta", "delta_absent", "provenance")
# Records written before there were these have none.
LATER_SECTIONS = ("rendered", "rendered_absent", "data", "data_delta")


def retract_record(decision: Decision, *, topic: str, released_at_ms: int) -> bytes:
    """The word that an edit which is out must go: its ids and the reason, no payload."""
    return _dumps(
        {
            "$schema": RETRACTION_SCHEMA,
            "action": "retract",
            "integrity": _integrity(decision, released_at_ms),
            "meta": _meta(decision, "retract", topic),
            "page_id": decision.page_id,
            "retracts": record_id(decision, "release"),
            "rev_id": decision.rev_id,
            "wiki": decision.wiki,
        }
    )


def without_parent(released: bytes) -> bytes:
    """A released edit as it may stay once its parent was hidden: what it changed quotes the parent.

    The same bytes where it says nothing of that.
    """
    doc = orjson.loads(released)
    if doc["delta"] is None and doc.get("data_delta") is None:
        return released
    return _dumps(doc | {"delta": None, "delta_absent": DeltaAbsent.HIDDEN, "data_delta": None})


def on_topic(released: bytes, topic: str) -> bytes:
    """A released edit as another topic has it."""
    doc = orjson.loads(released)
    return _dumps(doc | {"meta": doc["meta"] | {"stream": topic}})


def record_id(decision: Decision, action: str) -> str:
    """One id per event, in a UUID's clothes: the same edit released again by a replay has the same."""
    name = f"{decision.policy}:{decision.wiki}:{decision.page_id}:{decision.rev_id}:{decision.epoch}:{action}"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def edit_key(wiki: str, page_id: int, rev_id: int, epoch: int, action: str) -> bytes:
    """action: `release` or `retract`."""
    return f"{wiki}:{page_id}:{rev_id}:{epoch}:{action}".encode()


def _key(decision: Decision, action: str) -> bytes:
    return edit_key(decision.wiki, decision.page_id, decision.rev_id, decision.epoch, action)


def _meta(decision: Decision, action: str, topic: str) -> dict[str, Any]:
    return {"dt": rfc3339(decision.decided_for_ms), "id": record_id(decision, action), "stream": topic}


def _integrity(decision: Decision, released_at_ms: int) -> dict[str, Any]:
    signals = []
    for signal in decision.signals:
        doc = encode_signal(signal)
        doc["at"] = rfc3339(doc.pop("at_ms"))
        signals.append(doc)
    protect = {} if decision.protect is None else {"protect": _protect(decision.protect)}
    return protect | {
        "decided_for": rfc3339(decision.decided_for_ms),
        "epoch": decision.epoch,
        "fire_at": rfc3339(decision.fire_ms),
        "hold_seconds": decision.hold_ms / 1000,
        "hold_started_at": rfc3339(decision.start_ms),
        "policy": decision.policy,
        "reason": decision.reason,
        "released_at": rfc3339(released_at_ms),
        "signals": {"absent": list(decision.absent), "heard": signals},
        "state": decision.state,
    }


def _protect(protect: Protect) -> dict[str, Any]:
    """How the hold was chosen; there is none where it was fixed."""
    return {
        "cases": protect.cases,
        "curve": None if protect.curve is None else _stratum(protect.curve),
        "hold_seconds": None if protect.hold_ms is None else protect.hold_ms / 1000,
        "stratum": _stratum(protect.stratum),
        "target": protect.target,
    }


def _stratum(stratum: Stratum) -> dict[str, str | None]:
    return {name: part or None for name, part in stratum._asdict().items()}


def _dumps(doc: dict[str, Any]) -> bytes:
    return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)
