"""What every edit of a log must end as, computed in batch from the raw JSON: it shares no code with the gate.

Where the gate walks the log once and keeps a state, this looks at the whole log at once: for each edit it lists every
signal with its place in the log, finds the tick that fires the edit, and reads the verdict off.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

EDITS = ("create", "edit", "move", "undelete")
NEEDED = ("mediawiki.page_change.v1", "mediawiki.revision-tags-change", "mediawiki.revision-visibility-change")


@dataclass
class Signal:
    place: int
    at: int
    kind: str
    by_self: bool = False


@dataclass
class Edit:
    wiki: str
    page: int
    rev: int
    epoch: int
    place: int
    start: int
    user: str | None
    sha1: str | None
    signals: list[Signal] = field(default_factory=list)


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def edits_of(log: list[tuple[bytes, bytes]]) -> tuple[list[Edit], list[tuple[int, int]]]:
    """One partition's (kind, value) records → its edits with every signal about them, and (place, heard) per tick."""
    events = [(place, json.loads(value)) for place, (kind, value) in enumerate(log) if kind == b"event"]
    pages: dict[tuple[str, int], list[Edit]] = defaultdict(list)
    seeds: dict[tuple[str, int], list[tuple[int, str | None]]] = {}
    for place, doc in events:
        if doc.get("page_change_kind") in EDITS:
            key = (doc["wiki_id"], doc["page"]["page_id"])
            before = (doc.get("prior_state") or {}).get("revision") or {}
            seeds.setdefault(key, [(before["rev_id"], before.get("rev_sha1"))] if "rev_id" in before else [])
            _add_edit(pages[key], place, doc)
    for place, doc in events:
        _add_signals(pages, place, doc)
    for place, doc in events:
        if doc.get("page_change_kind") in ("create", "edit", "move"):
            key = (doc["wiki_id"], doc["page"]["page_id"])
            _add_reverts(pages[key], seeds[key], place, doc)
    edits = [edit for page in pages.values() for edit in page]
    for edit in edits:
        own_reverts = [s for s in edit.signals if s.kind == "revert"]
        for signal in edit.signals:
            earlier = [s for s in own_reverts if s.place <= signal.place]
            if signal.kind == "tag" and earlier and all(s.by_self for s in earlier):
                signal.by_self = True
    heard, ticks = -1, []
    for place, (kind, value) in enumerate(log):
        if kind == b"tick":
            streams = json.loads(value)["heard_ms"]
            heard = max(heard, min(streams.get(stream, -1) for stream in NEEDED))
            ticks.append((place, heard))
    return edits, ticks


def verdict(edit: Edit, ticks: list[tuple[int, int]], hold_ms: int, grace_ms: int) -> str:
    """What `edit` ends as under one hold: released, withheld, superseded, retracted, or still pending."""
    fire = edit.start + (hold_ms + grace_ms if hold_ms else 0)
    if hold_ms:
        fired = next((place for place, heard in ticks if place > edit.place and heard >= fire), None)
    else:
        fired = edit.place
    for signal in sorted(edit.signals, key=lambda s: max(s.place, edit.place)):
        before_it_fires = fired is None or signal.place < fired or (not hold_ms and signal.place <= fired)
        if before_it_fires and (signal.at < fire or not hold_ms):
            return "superseded" if signal.by_self else "withheld"
        if not signal.by_self:
            return "retracted"
    return "pending" if fired is None and not any(s.at >= fire for s in edit.signals) else "released"


def _add_edit(page: list[Edit], place: int, doc: dict[str, Any]) -> None:
    revision, undelete = doc["revision"], doc["page_change_kind"] == "undelete"
    known = [edit for edit in page if edit.rev == revision["rev_id"]]
    if known and not undelete:
        return
    heard_at, saved_at = ms(doc["meta"]["dt"]), ms(revision["rev_dt"])
    page.append(
        Edit(
            wiki=doc["wiki_id"],
            page=doc["page"]["page_id"],
            rev=revision["rev_id"],
            epoch=len(known) or int(undelete),
            place=place,
            start=heard_at if undelete or abs(heard_at - saved_at) > 600_000 else saved_at,
            user=(revision.get("editor") or {}).get("user_text"),
            sha1=revision.get("rev_sha1"),
        )
    )


def _add_signals(pages: dict[tuple[str, int], list[Edit]], place: int, doc: dict[str, Any]) -> None:
    stream, at = doc["meta"]["stream"], ms(doc["meta"]["dt"])
    if stream == "mediawiki.page_change.v1":
        page = pages[doc["wiki_id"], doc["page"]["page_id"]]
        kind, revision = doc["page_change_kind"], doc["revision"]
        shown = all(revision[f"is_{part}_visible"] for part in ("content", "editor", "comment"))
        if kind == "delete":
            for rev in {edit.rev for edit in page if edit.place < place}:
                _tell(page, rev, Signal(place, at, "delete"), before=place)
        elif not shown:
            _tell(page, revision["rev_id"], Signal(place, at, "hide"))
    elif stream == "mediawiki.revision-tags-change":
        if "mw-reverted" in set(doc["tags"]) - set(doc["prior_state"]["tags"]):
            _tell(pages[doc["database"], doc["page_id"]], doc["rev_id"], Signal(place, at, "tag"))
    elif stream == "mediawiki.revision-visibility-change":
        was, now = doc["prior_state"]["visibility"], doc["visibility"]
        if any(was[part] and not now[part] for part in ("text", "user", "comment")):
            _tell(pages[doc["database"], doc["page_id"]], doc["rev_id"], Signal(place, at, "hide"))


def _tell(page: list[Edit], rev: int, signal: Signal, *, before: int | None = None) -> None:
    """A signal concerns the newest epoch that is there when it is read, or the first one if it comes before."""
    epochs = [edit for edit in page if edit.rev == rev]
    there = [edit for edit in epochs if edit.place <= signal.place]
    if there:
        there[-1].signals.append(signal)
    elif epochs and before is None and signal.at >= epochs[0].start - 600_000:
        epochs[0].signals.append(signal)


def _add_reverts(page: list[Edit], seed: list[tuple[int, str | None]], place: int, doc: dict[str, Any]) -> None:
    """Whose text is gone because this edit brought back one of the sixteen before it."""
    revision = doc["revision"]
    earlier = [edit for edit in page if edit.place < place and edit.rev != revision["rev_id"]]
    texts = [*seed, *((edit.rev, edit.sha1) for edit in earlier if edit.epoch == 0)][-16:]
    same = [i for i, (_, sha1) in enumerate(texts) if sha1 is not None and sha1 == revision.get("rev_sha1")]
    if not same:
        return
    user = (revision.get("editor") or {}).get("user_text")
    for rev, _ in texts[same[-1] + 1 :]:
        newest = [edit for edit in earlier if edit.rev == rev][-1:]
        for edit in newest:
            edit.signals.append(Signal(place, ms(revision["rev_dt"]), "revert", user is not None and user == edit.user))
