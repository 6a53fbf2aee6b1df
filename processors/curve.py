"""How fast bad edits are reverted, from the gate's own decisions over a page's whole history. Pure.

*Bad*: reverted by another editor, and that revert was not itself reverted, by anyone, within 48 hours. The gate cannot
look 48 hours ahead; here the history is over. The policy used holds everything, so that the first revert of each edit
is a decision, by whomever it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import orjson

from processors.plans import ACTIVITY_MS
from processors.shard import Shard
from processors.strata import ACTIVITY, activity_name
from schemas.decision import Decision
from schemas.event import PAGE_CHANGE, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, Policies, Policy, encode_policies
from schemas.reasons import SignalKind

STANDS_MS = 48 * 3_600_000
COLUMNS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "48h": 172_800, "7d": 604_800}
_HOLD = Policies(policies=(Policy(name="hold", hold_seconds=90 * 86_400),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One row of a history. sha1 and user are "" where they are hidden or not known."""

    page: str
    rev_id: int
    at_ms: int
    user: str
    kind: str
    sha1: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A revision and what became of it. seconds_to_revert: until the first revert, by anyone; None = never."""

    revision: Revision
    bad: bool
    seconds_to_revert: float | None
    activity: str


def pages(revisions: Iterable[Revision]) -> dict[str, list[Revision]]:
    """Each page's revisions in order of time and id, each id once."""
    found: dict[str, dict[int, Revision]] = {}
    for revision in revisions:
        found.setdefault(revision.page, {}).setdefault(revision.rev_id, revision)
    return {page: sorted(each.values(), key=lambda r: (r.at_ms, r.rev_id)) for page, each in found.items()}


def event(revision: Revision, page_id: int, before: Revision | None = None) -> bytes:
    """The revision as the source would have announced it. before: the page's revision before it."""
    dt = rfc3339(revision.at_ms)
    doc: dict[str, Any] = {
        "meta": {"id": f"{page_id}-{revision.rev_id}", "stream": PAGE_CHANGE, "domain": "history", "dt": dt},
        "page_change_kind": "edit",
        "dt": dt,
        "wiki_id": "history",
        "page": {"page_id": page_id, "page_title": revision.page, "namespace_id": 0},
        "revision": {
            "rev_id": revision.rev_id,
            "rev_dt": dt,
            **({"rev_sha1": revision.sha1} if revision.sha1 else {}),
            **({"editor": {"user_text": revision.user, "is_bot": revision.kind == "bot"}} if revision.user else {}),
        },
    }
    if before is not None:
        doc["prior_state"] = {"revision": {"rev_id": before.rev_id, "rev_sha1": before.sha1 or None}}
    return orjson.dumps(doc)


def judged(history: Sequence[Revision]) -> list[Edit]:
    """The edits of one page, in order. No tick is ever given: nothing is released, whatever comes is a verdict."""
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(_HOLD))
    decisions = [d for r in history for g in shard.apply(KIND_EVENT, event(r, 1)) for d in g.decisions]
    first = {decision.rev_id: revert for decision in reversed(decisions) if (revert := _first_revert(decision))}
    times = {revision.rev_id: revision.at_ms for revision in history}
    made = []
    for revision, activity in zip(history, _activities(history), strict=True):
        by, at_ms, by_self = first.get(revision.rev_id, (0, 0, True))
        again = first.get(by)
        stood = again is None or again[1] - times[by] > STANDS_MS
        after = (at_ms - revision.at_ms) / 1000 if by else None
        made.append(Edit(revision=revision, bad=not by_self and stood, seconds_to_revert=after, activity=activity))
    return made


def _first_revert(decision: Decision) -> tuple[int, int, bool] | None:
    """(by which revision, when, by the same editor)."""
    reverts = [s for s in decision.signals if s.kind is SignalKind.IDENTITY_REVERT and s.by_rev_id is not None]
    return (reverts[0].by_rev_id or 0, reverts[0].at_ms, reverts[0].by_self) if reverts else None


def _activities(history: Sequence[Revision]) -> Iterator[str]:
    oldest = 0
    for at, revision in enumerate(history):
        while history[oldest].at_ms <= revision.at_ms - ACTIVITY_MS:
            oldest += 1
        yield activity_name(at - oldest)


def rows(edits: Sequence[Edit]) -> Mapping[str, Sequence[Edit]]:
    """The table's rows: all, kinds of editor, activity."""
    made: dict[str, Sequence[Edit]] = {"all": edits}
    made |= {
        f"- {kind} editors": [e for e in edits if e.revision.kind == kind] for kind in ("anon", "registered", "bot")
    }
    made |= {f"- {name} edits in 30 d": [e for e in edits if e.activity == name] for _, name in ACTIVITY}
    return {name: found for name, found in made.items() if found}


def table(edits: Sequence[Edit]) -> str:
    """Per row: edits, bad ones, the median time to the revert, and the share reverted within each time."""
    lines = [f"{'set':<22}{'edits':>8}{'bad':>7}{'median':>9}" + "".join(f"{name:>7}" for name in COLUMNS)]
    for name, found in rows(edits).items():
        times = [e.seconds_to_revert for e in found if e.bad and e.seconds_to_revert is not None]
        middle = span(median(times)) if times else "-"
        cells = [f"{100 * sum(t <= limit for t in times) / len(times):7.1f}" if times else f"{'-':>7}"
                 for limit in COLUMNS.values()]  # fmt: skip
        lines.append(f"{name:<22}{len(found):>8,}{len(times):>7,}{middle:>9}" + "".join(cells))
    return "\n".join(lines)


def span(seconds: float) -> str:
    """A time as people say it, with three digits."""
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "m"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def line(edit: Edit) -> bytes:
    """One line of the decisions file."""
    return orjson.dumps(
        {
            "page": edit.revision.page,
            "rev_id": edit.revision.rev_id,
            "bad": edit.bad,
            "seconds_to_revert": edit.seconds_to_revert,
        }
    )
