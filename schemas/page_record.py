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
from schemas.page import PENDING, Context, Edit, Lanes, Page, Still, Waiting

VERSION = 4


def encode_page(page: Page) -> bytes:
    """Its oldest edits, up to the first that waits, are left in their lines from now on; see `Page.still`.

    The SHA-1 of one of the others stands for that of its ring entry.
    """
    held = page.lines or page.times or page.untold or page.owed
    if not (held or page.restless or page.tricky or page.mixed):
        _lay_still(page)
    known = {edit.rev_id: edit.sha1 for edit in page.recent}
    still = page.still
    head = [
        VERSION,
        page.wiki,
        page.page_id,
        page.title,
        page.names,
        [rev if rev in known and known[rev] == sha1 else (rev, sha1) for rev, sha1 in page.ring.items()],
        [(w.rev_id, encode_signal(w.signal)) for w in page.waiting],
        page.topics,
        page.reverts,
        page.protected_ms,
        page.mark,
        None if still is None else _about(still),
    ]
    before = () if still is None else (still.lines,)
    return b"\n".join([orjson.dumps(head), *before, *[_line(edit, page.lanes) for edit in page.recent]])


def _lay_still(page: Page) -> None:
    edits, still, found = page.recent, page.still, []
    for edit in edits:
        digits = _digits(edit.states, page.lanes)
        if PENDING in digits or edit.floors or edit.out:
            break
        found.append(digits)
    if not found:
        return
    count, lines = len(found), [_line(edit, page.lanes) for edit in edits[: len(found)]]
    states, bars, first_ms = frozenset(found), any(edit.bars_others for edit in edits[:count]), edits[0].start_ms
    if still is not None:
        states, bars, first_ms = states | still.states, bars or still.bars, still.first_ms
        lines, count = [still.lines, *lines], count + still.count
    page.still = Still(b"\n".join(lines), count, first_ms, edits[len(found) - 1].rev_id, states, bars, read_edits)
    page.recent = edits[len(found) :]


def _about(still: Still) -> tuple[Any, ...]:
    states = sorted(each.decode() for each in still.states)
    return len(still.lines), still.count, still.first_ms, still.last_rev, states, int(still.bars)


def _line(e: Edit, lanes: Lanes) -> bytes:
    states = _digits(e.states, lanes).decode()
    head: tuple[Any, ...] = (e.rev_id, e.epoch, e.event_id, e.start_ms, e.sha1, e.user, e.context, states)
    if e.signals or e.restores or e.floors or e.partial or e.protects or e.out:
        head = (*head, [encode_signal(signal) for signal in e.signals], e.restores, e.floors, int(e.partial), e.out)
    whole = (*head, e.protects[0].stratum.activity, *map(_protect, e.protects)) if e.protects else head
    return orjson.dumps(whole)


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
    for edit in page.recent:
        edit.states = _digits(edit.states, page.lanes)
    page.lanes, page.rules = (), None


def decode_page(payload: bytes) -> Page:
    """Raises `InvalidRecord`, also for a record of a newer version: to pass it over would lose what it knows."""
    try:
        first, _, rest = payload.partition(b"\n")
        doc = orjson.loads(first)
        if not isinstance(doc, list) or doc[0] != VERSION:
            found = doc[0] if isinstance(doc, list) and doc else "1"
            raise InvalidRecord(f"page state of version {found}; we read version {VERSION}")
        _, wiki, page_id, title, names, ring, waiting, topics, reverts, protected_ms, mark, about = doc
        still, lines = (None, rest) if about is None else _read_still(about, rest)
        recent = read_edits(lines, wiki)
        known = {edit.rev_id: edit.sha1 for edit in recent}
        return Page(
            wiki=str(wiki),
            page_id=int(page_id),
            title=title,
            names=tuple(names),
            ring=dict((each, known[each]) if isinstance(each, int) else each for each in ring),
            recent=recent,
            waiting=[Waiting(int(rev_id), decode_signal(signal)) for rev_id, signal in waiting],
            topics=tuple(topics),
            reverts=[(at_ms, user) for at_ms, user in reverts],
            protected_ms=protected_ms,
            still=still,
            mark=mark,
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no page state: {exc!r}") from exc


def _read_still(about: Sequence[Any], rest: bytes) -> tuple[Still, bytes]:
    size, count, first_ms, last_rev, states, bars = about
    found = frozenset(each.encode() for each in states)
    return Still(rest[:size], count, first_ms, last_rev, found, bool(bars), read_edits), rest[size + 1 :]


def read_edits(lines: bytes, wiki: str) -> list[Edit]:
    """The edits of their lines. Raises `InvalidRecord`."""
    try:
        return [_read_edit(orjson.loads(line), wiki) for line in lines.split(b"\n")] if lines else []
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        raise InvalidRecord(f"no edits: {exc!r}") from exc


def _read_edit(doc: Sequence[Any], wiki: str) -> Edit:
    rev_id, epoch, event_id, start_ms, sha1, user, context, states = doc[:8]
    read = _read_context(context)
    edit = Edit(int(rev_id), int(epoch), event_id, int(start_ms), sha1, user, read, states.encode())
    if len(doc) > 8:
        signals, edit.restores, floors, partial, out = doc[8:13]
        edit.signals = tuple(decode_signal(signal) for signal in signals)
        edit.floors = tuple((tuple(places), int(at_ms)) for places, at_ms in floors)
        edit.partial = bool(partial)
        edit.out = tuple(
            (tuple(places), int(fire_ms), _read_context(then), int(mark)) for places, fire_ms, then, mark in out
        )
    if len(doc) > 13:
        stratum = Stratum(wiki, read[2], doc[13])
        edit.protects = tuple(_read_protect(each, stratum) for each in doc[14:])
    return edit


def _read_context(doc: Sequence[Any]) -> Context:
    namespace, kinds, editor_class, flags, topics = doc
    return namespace, tuple(kinds), editor_class, tuple(flags), tuple(topics)
