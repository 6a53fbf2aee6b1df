"""The record of a page in `sluice.gate-state.v1`, and back: a line for the page, and one for each of its edits.

JSON arrays without names: millions of them wait in memory. A line each, since most edits of a page lie still: their
lines are taken over as they are, and not looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from schemas.decision import decode_signal, encode_signal
from schemas.learned import Protect, Stratum
from schemas.log import InvalidRecord
from schemas.page import PENDING, Edit, Lanes, Line, Page, Waiting, read_context

VERSION = 4
# How an edit's line ends that has nothing behind its states.
_PLAIN = b'"]'


def encode_page(page: Page) -> bytes:
    """An edit's SHA-1 stands for that of its ring entry. Edits that lie still are left in their lines from now on."""
    known = {edit.rev_id: edit.sha1 for edit in page.edits[-len(page.ring) :]}
    head = [
        VERSION,
        page.wiki,
        page.page_id,
        page.title,
        page.names,
        [rev_id if known.get(rev_id, "") == sha1 else (rev_id, sha1) for rev_id, sha1 in page.ring.items()],
        [(w.rev_id, encode_signal(w.signal)) for w in page.waiting],
        page.topics,
        page.reverts,
        page.protected_ms,
    ]
    return b"\n".join([orjson.dumps(head), *[edit.kept or _write(edit, page) for edit in page.edits]])


def _write(e: Edit, page: Page) -> bytes:
    states = _digits(e.states, page.lanes)
    head = (e.rev_id, e.epoch, e.start_ms, e.sha1, e.event_id, e.user, e.context, states.decode())
    if e.signals or e.restores or e.floors or e.partial or e.protects or e.out:
        return orjson.dumps(_with_the_rest(e, head))
    text = orjson.dumps(head)
    if PENDING not in states and not page.tricky:
        e.fold(text)
    return text


def _with_the_rest(e: Edit, head: tuple[Any, ...]) -> Sequence[Any]:
    whole = (*head, [encode_signal(signal) for signal in e.signals], e.restores, e.floors, int(e.partial), e.out)
    return (*whole, e.protects[0].stratum.activity, *map(_protect, e.protects)) if e.protects else whole


def _protect(p: Protect) -> Sequence[Any]:
    """The stratum's wiki and editor class are the edit's. A curve is one of the wider strata: its number, -1 = none."""
    return p.target, -1 if p.curve is None else p.stratum.wider().index(p.curve), p.cases, p.hold_ms


def _read_protect(doc: Sequence[Any], stratum: Stratum) -> Protect:
    target, number, cases, hold_ms = doc
    return Protect(target, stratum, None if number < 0 else stratum.wider()[number], cases, hold_ms)


@lru_cache(maxsize=10_000)
def _digits(states: bytes, lanes: Lanes) -> bytes:
    """A digit for each policy, whoever shares it."""
    count = sum(map(len, lanes))
    if count == len(lanes):
        return states
    digits = bytearray(count)
    for digit, lane in zip(states, lanes, strict=False):
        for at in lane:
            digits[at] = digit
    return bytes(digits) + states[len(lanes) :]


def spread(page: Page) -> None:
    """Give each policy a digit of its own, as in a record."""
    for edit in page.edits:
        edit.restate(_digits(edit.states, page.lanes))
    page.lanes = ()


def decode_page(payload: bytes) -> Page:
    """Raises `InvalidRecord`, also for a record of a newer version: to pass it over would lose what it knows."""
    try:
        first, *lines = payload.split(b"\n")
        doc = orjson.loads(first)
        if not isinstance(doc, list) or doc[0] != VERSION:
            found = doc[0] if isinstance(doc, list) and doc else "1"
            raise InvalidRecord(f"page state of version {found}; we read version {VERSION}")
        _, wiki, page_id, title, names, ring, waiting, topics, reverts, protected_ms = doc
        edits = [_read_settled(line) or _read_edit(orjson.loads(line), wiki) for line in lines]
        known = {edit.rev_id: edit.sha1 for edit in edits}
        return Page(
            wiki=str(wiki),
            page_id=int(page_id),
            title=title,
            names=tuple(names),
            ring=dict((each, known[each]) if isinstance(each, int) else each for each in ring),
            edits=edits,
            waiting=[Waiting(int(rev_id), decode_signal(signal)) for rev_id, signal in waiting],
            topics=tuple(topics),
            reverts=[(at_ms, user) for at_ms, user in reverts],
            protected_ms=protected_ms,
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no page state: {exc!r}") from exc


def _read_settled(line: bytes) -> Edit | None:
    """An edit that waits for nothing and of which nothing was said, as far as it is asked for; None = it is not one."""
    if not line.endswith(_PLAIN):
        return None
    states = line[line.rfind(b'"', 0, -2) + 1 : -2]
    rev_id, epoch, start_ms, sha1, _ = line.split(b",", 4)
    if PENDING in states or not (sha1 == b"null" or sha1[1:-1].isalnum()):
        return None
    edit = Edit.__new__(Edit)
    edit.rev_id, edit.epoch, edit.start_ms = int(rev_id[1:]), int(epoch), int(start_ms)
    edit.sha1 = None if sha1 == b"null" else sha1[1:-1].decode()
    edit.states, edit.line = states, Line(line, states, unread=True)
    edit.signals = edit.floors = edit.protects = edit.out = ()
    edit.restores = edit.look_ms = 0
    edit.partial = False
    return edit


def _read_edit(doc: Sequence[Any], wiki: str) -> Edit:
    rev_id, epoch, start_ms, sha1, event_id, user, context, states = doc[:8]
    read = read_context(context)
    edit = Edit(int(rev_id), int(epoch), event_id, int(start_ms), sha1, user, read, states.encode())
    if len(doc) > 8:
        signals, edit.restores, floors, partial, out = doc[8:13]
        edit.signals = tuple(decode_signal(signal) for signal in signals)
        edit.floors = tuple((tuple(places), int(at_ms)) for places, at_ms in floors)
        edit.partial = bool(partial)
        edit.out = tuple(
            (tuple(places), int(fire_ms), read_context(then), int(mark)) for places, fire_ms, then, mark in out
        )
    if len(doc) > 13:
        stratum = Stratum(wiki, read[2], doc[13])
        edit.protects = tuple(_read_protect(each, stratum) for each in doc[14:])
    return edit
