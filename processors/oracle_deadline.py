"""When an edit's time comes under a full rule, if nothing bars it, and what for it is withheld then.

Every knob can only put the deadline off: f = start + hold + grace, and
  quiet clock, war   the hold counts from the page's last edit before f, up to the longest hold; a war that never ends
                     until then withholds
  risk               a score is waited for until 30 s after the edit; above the limit the edit waits longer, or until
                     somebody looked at it, at the latest to the longest hold: withheld
  review             counts if it stands at the deadline and for the grace after it; the rule says how long it waits
A signal counts if it happened before the fire time that it would change.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from processors.oracle_page import Edit, Page
from processors.oracle_rules import REVIEWS, Asked, risk_limit
from schemas.decision import Signal
from schemas.log import Gap
from schemas.policy import Risk, War
from schemas.reasons import Bar, SignalKind

SCORE_WAIT_MS = 30_000
LOOKED = frozenset({SignalKind.PATROL, SignalKind.APPROVE})


class Deadline(NamedTuple):
    """fire_ms: deadline + grace. reason: what for it is withheld then, None: it is released. why: what put it off."""

    fire_ms: int
    reason: Bar | None = None
    why: tuple[Signal, ...] = ()


def deadline(page: Page, edit: Edit, asked: Asked, heard: Sequence[Signal], before: int, grace_ms: int) -> Deadline:
    """heard: everything said of the edit; before: the place in the log up to which the page's edits are known."""
    rule, start_ms = asked.rule, edit.start_ms
    due_ms = start_ms + asked.hold_ms
    reason: Bar | None = None
    why: tuple[Signal, ...] = ()
    last_ms = start_ms + max(rule.max_hold_ms, asked.hold_ms)
    wars = [s for s in heard if s.kind is SignalKind.EDIT_WAR and rule.war is not None and s.model == rule.war.name]
    war = any(s.at_ms < due_ms + grace_ms for s in wars)
    if war or rule.clock == "quiet":
        due_ms, why = _when_quiet(page, edit, asked.hold_ms, last_ms, before, grace_ms)
        reason = Bar.EDIT_WAR if war and due_ms >= last_ms else None
    if asked.scored and rule.risk is not None:
        due_ms, risky = _scored(edit.event.wiki, rule.risk, heard, start_ms, due_ms, last_ms, grace_ms)
        reason = Bar.RISK if risky else reason
    if asked.review and rule.require is not None:
        limit_ms = start_ms + round(rule.require.wait_seconds * 1000)
        due_ms, missing = _reviewed(asked.review, heard, due_ms, limit_ms, grace_ms)
        reason = Bar.UNREVIEWED if missing and rule.require.otherwise == "withhold" else reason
    return Deadline(due_ms + grace_ms, reason, why)


def _when_quiet(
    page: Page, edit: Edit, hold_ms: int, last_ms: int, before: int, grace_ms: int
) -> tuple[int, tuple[Signal, ...]]:
    due_ms = edit.start_ms + hold_ms
    why: tuple[Signal, ...] = ()
    for other in page.begun(edit.start_ms):
        if other.start_ms >= due_ms + grace_ms or due_ms >= last_ms:
            break
        if other.number > edit.number and other.place <= before:
            due_ms = min(last_ms, max(due_ms, other.start_ms + hold_ms))
            why = (_by(SignalKind.LATER_EDIT, other, other.start_ms),)
    return due_ms, why


def _by(kind: SignalKind, edit: Edit, at_ms: int) -> Signal:
    return Signal(kind=kind, event_id=edit.event_id, at_ms=at_ms, by_rev_id=edit.event.rev_id)


def _scored(
    wiki: str, risk: Risk, heard: Iterable[Signal], start_ms: int, due_ms: int, last_ms: int, grace_ms: int
) -> tuple[int, bool]:
    """(deadline, whether it is withheld then)."""
    scores = [s for s in heard if s.kind is SignalKind.RISK and s.model.startswith(risk.model) and s.score is not None]
    latest_ms = max(due_ms, start_ms + SCORE_WAIT_MS)
    first_ms = min((s.at_ms for s in scores), default=latest_ms + grace_ms)
    if first_ms >= due_ms + grace_ms:
        due_ms = min(first_ms, latest_ms)
    known = sorted((s for s in scores if s.at_ms < due_ms + grace_ms), key=lambda s: s.at_ms)
    over = (known[-1].score or 0.0) > risk_limit(risk, wiki) if known else risk.missing == "over"
    if not over:
        return due_ms, False
    if risk.extend_seconds is not None:
        return due_ms + round(risk.extend_seconds * 1000), False
    looked_ms = min((s.at_ms for s in heard if s.kind in LOOKED), default=last_ms + 1)
    return (max(due_ms, looked_ms), False) if looked_ms <= last_ms else (last_ms, True)


def _reviewed(review: str, heard: Iterable[Signal], due_ms: int, limit_ms: int, grace_ms: int) -> tuple[int, bool]:
    """(deadline, whether the review is missing then)."""
    said = sorted((s for s in heard if s.kind in REVIEWS[review]), key=lambda s: s.at_ms)
    last_ms = max(due_ms, limit_ms)
    for number, given in enumerate(said):
        if given.kind is not SignalKind.UNAPPROVE and given.at_ms <= last_ms:
            at_ms = max(due_ms, given.at_ms)
            if not any(s.kind is SignalKind.UNAPPROVE and s.at_ms < at_ms + grace_ms for s in said[number + 1 :]):
                return at_ms, False
    return last_ms, True


def in_gap(gaps: Iterable[Gap], needed: Container[str], start_ms: int, fire_ms: int) -> Signal | None:
    """The first span that nobody heard while the edit waited, on a stream that is needed for it."""
    for gap in sorted(gaps, key=lambda gap: (gap.from_ms, gap.to_ms)):
        if gap.from_ms < fire_ms and gap.to_ms > start_ms and (not gap.stream or gap.stream in needed):
            name = f"gap-{gap.from_ms}-{gap.to_ms}"
            return Signal(kind=SignalKind.COVERAGE_GAP, event_id=name, at_ms=gap.from_ms)
    return None


def at_war(page: Page, war: War, edit: Edit) -> bool:
    """Whether the page was at war when this edit was announced: so many reverts, by two or more, in so many hours."""
    from_ms = edit.start_ms - round(war.hours * 3_600_000)
    users = [user for place, at, user in page.reverts if place <= edit.place and from_ms < at <= edit.start_ms]
    return len(users) >= war.n and len(set(users)) > 1
