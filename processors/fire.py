"""When an edit fires under a policy, and how it then ends, as far as is known now. Pure.

Each knob can only move the deadline back: quiet clock and war by later edits, risk by a score, review by its absence,
taint by what the edit stands on. Only what happened before the fire time that it would change counts.
"""

from __future__ import annotations

from typing import NamedTuple

from processors.lineage import root
from processors.plans import UNSCORED, Plan, Rules
from processors.times import times_of
from processors.wikis import risk_limit
from schemas.decision import Signal
from schemas.page import Edit, Page
from schemas.policy import Risk
from schemas.reasons import Bar, SignalKind

# A score that has not come by then is missing.
SCORE_WAIT_MS = 30_000
LOOKED_AT = frozenset({SignalKind.PATROL, SignalKind.APPROVE})


class Verdict(NamedTuple):
    """fire_ms: as in `processors.gate`. reason: None = it will be released. signals: what led to this, beside its own.

    root: the barred edit it stands on, or None. nominal_ms: when it would fire if it stood on none.
    """

    fire_ms: int
    reason: Bar | None = None
    signals: tuple[Signal, ...] = ()
    root: Edit | None = None
    nominal_ms: int = 0


def usual_fire_ms(edit: Edit, policy: int, plan: Plan | None = None) -> int:
    """When an edit fires if nothing puts it off; only a text that is out already goes sooner. plan: None = its own."""
    found: Plan = plan or edit.plan
    return edit.start_ms + found.waits_ms[policy]


def fire_time(page: Page, edit: Edit, policy: int, rules: Rules) -> int:
    """When an edit fires by itself, whatever it stands on."""
    plan: Plan = edit.plan
    if policy in plan.instant or (policy in plan.simple and not edit.floors):
        return usual_fire_ms(edit, policy)
    return _alone(page, edit, policy, rules).fire_ms


def outcome(page: Page, edit: Edit, policy: int, rules: Rules, until_ms: int | None = None) -> Verdict:
    """How `edit` will end under a policy if nothing more is heard.

    until_ms: beyond that it does not matter what it stands on, only that it does not fire sooner.
    """
    plan: Plan = edit.plan
    rule = plan.rules[policy]
    if policy in plan.instant:
        return Verdict(edit.start_ms)
    if rule.plain or not page.tricky:
        fixed = Verdict(edit.start_ms + plan.holds_ms[policy] + rules.grace_ms)
        return _in_gap(edit, policy, fixed, rules) if rules.gaps else fixed
    alone = _alone(page, edit, policy, rules)
    if until_ms is not None and alone.fire_ms > until_ms:
        return alone
    if alone.reason is None:
        alone = _in_gap(edit, policy, alone, rules)

    def held(node: Edit, policy: int) -> bool:
        return node.plan.rules[policy].risk is not None and _alone(page, node, policy, rules).reason is Bar.RISK

    last_ms = max(alone.fire_ms, edit.start_ms + rule.max_hold_ms + rules.grace_ms)
    barred = root(page, edit, policy, alone.fire_ms, last_ms, held)
    if barred is None:
        return alone
    stands_on = Signal(kind=SignalKind.TAINT, event_id=barred.event_id, at_ms=barred.start_ms, by_rev_id=barred.rev_id)
    return Verdict(last_ms, alone.reason or Bar.TAINTED, (*alone.signals, stands_on), barred, alone.fire_ms)


def floor(edit: Edit, policy: int, rules: Rules) -> int:
    """When the last thing went that had kept an edit under a policy; 0 if nothing did."""
    place = rules.lanes[policy][0]
    return max((at_ms for places, at_ms in edit.floors if place in places), default=0)


def _alone(page: Page, edit: Edit, policy: int, rules: Rules) -> Verdict:
    plan: Plan = edit.plan
    rule = plan.rules[policy]
    due_ms = edit.start_ms + plan.holds_ms[policy]
    last_ms = edit.start_ms + max(rule.max_hold_ms, plan.holds_ms[policy])
    reason: Bar | None = None
    signals: tuple[Signal, ...] = ()
    war = rule.war is not None and any(
        s.kind is SignalKind.EDIT_WAR and s.model == rule.war.name and s.at_ms < due_ms + rules.grace_ms
        for s in edit.signals
    )
    if war or rule.clock == "quiet":
        due_ms, signals = _quiet(page, edit, plan.holds_ms[policy], last_ms, rules.grace_ms)
        reason = Bar.EDIT_WAR if war and due_ms >= last_ms else None
    if rule.risk is not None and edit.context[2] not in UNSCORED:
        due_ms, over = _risk(page.wiki, edit, rule.risk, due_ms, last_ms, rules.grace_ms)
        reason = Bar.RISK if over else reason
    if plan.reviews[policy] and rule.require is not None:
        wait_ms = round(rule.require.wait_seconds * 1000)
        due_ms, absent = _review(edit, plan.reviews[policy], wait_ms, due_ms, rules.grace_ms)
        reason = Bar.UNREVIEWED if absent and rule.require.otherwise == "withhold" else reason
    floor_ms = floor(edit, policy, rules) if edit.floors else 0
    if floor_ms > due_ms:
        # It stood on an edit that is barred no more.
        due_ms = floor_ms
        signals = (*signals, Signal(kind=SignalKind.TAINT, event_id=edit.event_id, at_ms=due_ms))
    return Verdict(due_ms + rules.grace_ms, reason, signals, None, due_ms + rules.grace_ms)


def _quiet(page: Page, edit: Edit, hold_ms: int, last_ms: int, grace_ms: int) -> tuple[int, tuple[Signal, ...]]:
    """The deadline counts from the last edit of the page that came before it would have fired."""
    times = times_of(page)
    if edit in times.late:
        last = _last_of(page, edit, hold_ms, last_ms, grace_ms)
    else:
        last = times.last_before_pause(edit, hold_ms, grace_ms, last_ms)
    if last is None:
        return edit.start_ms + hold_ms, ()
    due_ms = min(last_ms, last.start_ms + hold_ms)
    kept = Signal(kind=SignalKind.LATER_EDIT, event_id=last.event_id, at_ms=last.start_ms, by_rev_id=last.rev_id)
    return due_ms, (kept,)


def _last_of(page: Page, edit: Edit, hold_ms: int, last_ms: int, grace_ms: int) -> Edit | None:
    """As `Times.last_before_pause`, of an edit that came late: some that began after it were there before it."""
    after = []
    for other in reversed(page.edits):
        if other is edit:
            break
        if other.start_ms > edit.start_ms:
            after.append(other)
    after.reverse()
    due_ms, last = edit.start_ms + hold_ms, None
    for later in sorted(after, key=lambda e: e.start_ms):
        if later.start_ms >= due_ms + grace_ms or due_ms >= last_ms:
            break
        due_ms, last = min(last_ms, max(due_ms, later.start_ms + hold_ms)), later
    return last


def _risk(wiki: str, edit: Edit, risk: Risk, due_ms: int, last_ms: int, grace_ms: int) -> tuple[int, bool]:
    """(deadline, whether it is withheld then)."""
    model = risk.model
    scores = [
        s for s in edit.signals if s.kind is SignalKind.RISK and s.model.startswith(model) and s.score is not None
    ]
    if not any(s.at_ms < due_ms + grace_ms for s in scores):
        wait_ms = max(due_ms, edit.start_ms + SCORE_WAIT_MS)
        due_ms = min([wait_ms, *(s.at_ms for s in scores)])
    known = [s for s in scores if s.at_ms < due_ms + grace_ms]
    over = risk.missing == "over"
    if known:
        over = (max(reversed(known), key=lambda s: s.at_ms).score or 0.0) > risk_limit(risk, wiki)
    if not over:
        return due_ms, False
    if risk.extend_seconds is not None:
        return due_ms + round(risk.extend_seconds * 1000), False
    looked = min((s.at_ms for s in edit.signals if s.kind in LOOKED_AT), default=None)
    if looked is not None and looked <= last_ms:
        return max(due_ms, looked), False
    return last_ms, True


def _review(edit: Edit, review: str, wait_ms: int, due_ms: int, grace_ms: int) -> tuple[int, bool]:
    """(deadline, whether the review did not come)."""
    kinds = {
        "patrolled": {SignalKind.PATROL},
        "approved": {SignalKind.APPROVE, SignalKind.UNAPPROVE},
        "other_editor": {SignalKind.OTHER_EDITOR},
    }[review]
    said = sorted((s for s in edit.signals if s.kind in kinds), key=lambda s: s.at_ms)
    last_ms = max(due_ms, edit.start_ms + wait_ms)
    for at, given in enumerate(said):
        # It must stand until the edit would fire; what is said after that comes too late for both.
        at_ms = max(due_ms, given.at_ms)
        taken_back = any(s.kind is SignalKind.UNAPPROVE and s.at_ms < at_ms + grace_ms for s in said[at + 1 :])
        if given.kind is not SignalKind.UNAPPROVE and given.at_ms <= last_ms and not taken_back:
            return at_ms, False
    return last_ms, True


def _in_gap(edit: Edit, policy: int, alone: Verdict, rules: Rules) -> Verdict:
    """What may have been said in a span that nobody heard, on a stream that is needed, cannot be known: withheld."""
    plan: Plan = edit.plan
    if edit.start_ms >= rules.gap_end_ms or plan.rules[policy].stall == "open":
        return alone
    needed = rules.watermarks[plan.watermarks[policy]]
    for gap in rules.gaps:
        unheard = not gap.stream or gap.stream in needed
        if unheard and gap.from_ms < alone.fire_ms and gap.to_ms > edit.start_ms:
            fell = Signal(kind=SignalKind.COVERAGE_GAP, event_id=f"gap-{gap.from_ms}-{gap.to_ms}", at_ms=gap.from_ms)
            return alone._replace(reason=Bar.COVERAGE_GAP, signals=(*alone.signals, fell))
    return alone
