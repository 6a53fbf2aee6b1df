"""Disagreements in words: what was expected, what came, and the history of the page that leads to it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from unicodedata import combining, east_asian_width

from processors.oracle import NEEDS_AN_END, Score
from processors.oracle_facts import ABOUT, Check, Disagreement, PageKey
from processors.oracle_ledger import Ledger, Offered
from processors.oracle_log import rev_of
from processors.oracle_verdicts import Fate
from schemas.event import PageChange, TagsChange, VisibilityChange, rfc3339

WIDTH = 80
# A page's history is told from a little before the revision to a little after it.
BEFORE, LINES = 4, 24


def tell(ledger: Ledger, score: Score, *, most: int = 10) -> Iterator[str]:
    """The summary, and the first `most` disagreements with their histories; lines of at most 80 columns."""
    for reason in score.unfinished:
        yield from _wrapped("not finished: ", reason)
    if score.unfinished:
        yield ""
    yield from _table(score)
    disagreements = score.disagreements
    told: set[tuple[PageKey | None, int | None]] = set()
    for number, each in enumerate(disagreements[:most], 1):
        yield ""
        about = (each.page, each.rev_id)
        yield from story(ledger, score, each, number, history_told=about in told and each.page is not None)
        told.add(about)
    if len(disagreements) > most:
        yield ""
        yield f"and {len(disagreements) - most} more"


def verdict(score: Score) -> str:
    """The last line."""
    wrong = len(score.disagreements)
    if wrong:
        return f"FAILS: {wrong} disagreement{'s' if wrong > 1 else ''} with the ledger"
    if score.unfinished:
        return "NOT FINISHED: nothing disagrees so far"
    return "holds: the line did exactly what follows from the ledger"


def _table(score: Score) -> Iterator[str]:
    found = {finding.check: finding for finding in score.findings}
    for check in Check:
        finding = found.get(check)
        wrong = 0 if finding is None else len(finding.disagreements)
        mark = "later" if finding is None or (score.unfinished and check in NEEDS_AN_END and not wrong) else "holds"
        looked_at = 0 if finding is None else finding.looked_at
        yield f"{'FAILS' if wrong else mark} {check.value:<13} {looked_at:>7}  {ABOUT[check]}"[:WIDTH]


def story(
    ledger: Ledger, score: Score, each: Disagreement, number: int, *, history_told: bool = False
) -> Iterator[str]:
    """One disagreement."""
    yield from _wrapped(f"{number}. {each.check.value}: ", each.what)
    yield from _wrapped("   expected: ", each.expected)
    yield from _wrapped("   came:     ", each.came)
    if each.place:
        yield from _wrapped("   where:    ", each.place)
    if history_told:
        yield "   history:  as above"
    elif each.page is not None:
        yield from (cut(f"   {line}") for line in history(ledger, score, each.page, each.rev_id))


def _wrapped(lead: str, text: str) -> Iterator[str]:
    rest = " " * (13 if lead.startswith("   ") else 3)
    yield from textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=rest, break_on_hyphens=False)


def width(text: str) -> int:
    """Columns on a terminal: most of East Asia's letters take two."""
    return sum(0 if combining(letter) else 1 + (east_asian_width(letter) in "WF") for letter in text)


def cut(text: str) -> str:
    """What fits into a line."""
    while width(text) > WIDTH:
        text = text[:-1]
    return text


def history(ledger: Ledger, score: Score, page: PageKey, rev_id: int | None) -> Iterator[str]:
    """The page's events in the order offered: when, where in the log, what, revision, SHA-1; `>` marks the revision's.

    Below them, of the revision, the tick that has to release it under each policy, and what was decided (the place of a
    decision is on its own topic).
    """
    events = ledger.about(*page)
    places = {o.event_id: f"{n}/{place}" for n, part in enumerate(score.partitions) for place, o in part.events}
    mine = [n for n, offered in enumerate(events) if rev_of(offered) == rev_id]
    first = max(0, (mine[0] if mine else 0) - BEFORE)
    day = rfc3339(events[0].at_ms)[:10] if events else ""
    yield f"history of page {page[0]}:{page[1]} on {day}, places as partition/offset:"
    for offered in events[first : first + LINES]:
        yield _event_line(offered, places.get(offered.event_id, "not in it"), rev_id)
    if len(events) > first + LINES:
        yield f"… and {len(events) - first - LINES} more"
    for fate in score.fates:
        if fate.page.key == page and fate.edit.event.rev_id == rev_id:
            yield from _due(score, fate)
    for made in score.decided:
        d = made.decision
        if (d.wiki, d.page_id, d.rev_id) == (*page, rev_id):
            reason = f" ({d.reason})" if d.reason else ""
            yield _line(
                d.decided_for_ms,
                made.record.partition,
                made.record.offset,
                "decision",
                f"{d.policy}: {d.state}{reason}",
            )


def _due(score: Score, fate: Fate) -> Iterator[str]:
    """The tick that must release an edit, if nothing bars it; a hold of 0 needs none."""
    tick = fate.page.partition.fires_at(fate.edit.place, fate.fire_ms)
    if tick is not None and fate.fire_ms > fate.edit.start_ms:
        number = score.partitions.index(fate.page.partition)
        yield _line(fate.fire_ms, number, tick, "tick", f"{fate.policy}: due")


def _line(at_ms: int, partition: int, offset: int, kind: str, text: str) -> str:
    return f"  {rfc3339(at_ms)[11:23]} {f'{partition}/{offset}':>9} {kind:<10} {text}"


def _event_line(offered: Offered, place: str, rev_id: int | None) -> str:
    mark = ">" if rev_of(offered) == rev_id else " "
    event = offered.event
    at = "" if event is None else rfc3339(event.meta.at_ms)[11:23]
    return f"{mark} {at} {place:>9} {_kind(offered):<10} {rev_of(offered) or '':>10} {_remark(offered)}"


def _kind(offered: Offered) -> str:
    event = offered.event
    if isinstance(event, PageChange):
        return "visibility" if event.kind == "visibility_change" else event.kind
    if isinstance(event, TagsChange):
        return "tags"
    return "visibility" if isinstance(event, VisibilityChange) else "?"


def _remark(offered: Offered) -> str:
    event = offered.event
    if isinstance(event, PageChange):
        undoes = f" undoes {event.revert.oldest_rev_id}" if event.revert else ""
        user = event.editor.user_text if event.editor else "?"
        return f"sha1 {(event.rev_sha1 or 'hidden')[:7]} {user}{undoes}"
    if isinstance(event, TagsChange):
        return "+" + ",".join(sorted(event.added))
    if isinstance(event, VisibilityChange):
        now = event.visibility
        shown = (("text", now.text), ("user", now.user), ("comment", now.comment))
        return "hidden: " + ",".join(name for name, visible in shown if not visible)
    return ""


def as_document(score: Score, *, most: int = 10) -> dict[str, object]:
    """For machines."""
    disagreements: Sequence[Disagreement] = score.disagreements
    return {
        "perfect": score.perfect,
        "unfinished": list(score.unfinished),
        "checks": {f.check.value: {"looked_at": f.looked_at, "wrong": len(f.disagreements)} for f in score.findings},
        "disagreements": [
            {
                "check": d.check.value,
                "what": d.what,
                "expected": d.expected,
                "came": d.came,
                "place": d.place,
                "page": d.page,
                "rev_id": d.rev_id,
            }
            for d in disagreements[:most]
        ],
    }
