"""What follows from a decision's proof alone: the policy's rule, and the signals in the decision. Pure.

The gate decides on a page's state; this sees nothing but the decision. That both agree is what makes it a proof.
"""

from __future__ import annotations

from processors.wikis import risk_limit
from schemas.decision import Decision, Signal
from schemas.policy import Policies, Policy, Rule
from schemas.reasons import Bar, SignalKind, State

SCORE_WAIT_MS = 30_000
_BARS = {
    SignalKind.IDENTITY_REVERT: Bar.REVERTED,
    SignalKind.DECLARED_REVERT: Bar.REVERTED,
    SignalKind.REVERTED_TAG: Bar.REVERTED,
    SignalKind.PAGE_DELETE: Bar.PAGE_DELETED,
    SignalKind.HIDE: Bar.SUPPRESSED,
    SignalKind.BLOCK: Bar.EDITOR_BLOCKED,
}
_REVIEWS = {
    "patrolled": {SignalKind.PATROL},
    "approved": {SignalKind.APPROVE, SignalKind.UNAPPROVE},
    "other_editor": {SignalKind.OTHER_EDITOR},
}

Derived = tuple[State, Bar | None, int]


def derive(decision: Decision, policies: Policies) -> Derived | None:
    """(state, reason, decided_for_ms) that the proof leads to; None if it leads nowhere.

    Raises `KeyError` if the policy is none of `policies`.
    """
    rule = rule_of(decision, policies)
    if not _hold_follows(decision, rule):
        return None
    bars = [s for s in decision.signals if s.kind in _BARS]
    last = bars[-1] if bars else None
    undone = last is not None and last.by_self and last.by_rev_id == decision.superseded_by
    if decision.superseded_by is not None and not undone:
        return State.SUPERSEDED, None, decision.decided_for_ms
    if last is not None and last.at_ms == decision.decided_for_ms:
        return _of_a_bar(decision, rule, last)
    if any(s.kind is SignalKind.RESTORES for s in decision.signals):
        return State.RELEASED, None, decision.start_ms
    fire_ms, reason = _by_itself(decision, rule, policies.grace_ms)
    if any(s.at_ms < fire_ms and not s.by_self for s in bars) and decision.hold_ms:
        return None
    return (State.RELEASED if reason is None else State.WITHHELD), reason, fire_ms


def rule_of(decision: Decision, policies: Policies) -> Rule:
    """Raises `KeyError`."""
    found: dict[str, Policy] = {policy.name: policy for policy in policies.policies}
    return found[decision.policy].in_force(policies.horizon_seconds)[decision.rule]


def _hold_follows(d: Decision, rule: Rule) -> bool:
    """Whether the hold is what the rule makes of what was learned. Of a creation the proof does not tell: twice."""
    if rule.protect is None or d.protect is None:
        return rule.protect is None and d.protect is None
    if d.protect.target != rule.protect:
        return False
    learned_ms = rule.hold_seconds * 1000 if d.protect.hold_ms is None else d.protect.hold_ms
    least_ms = rule.min_hold_seconds * 1000
    return d.hold_ms in {
        round(min(max(hold_ms, least_ms), rule.max_hold_ms)) for hold_ms in (learned_ms, 2 * learned_ms)
    }


def _of_a_bar(decision: Decision, rule: Rule, bar: Signal) -> Derived | None:
    waited = not decision.hold_ms or bar.at_ms < decision.fire_ms
    if bar.by_self:
        return (State.SUPERSEDED, None, bar.at_ms) if waited else None
    # Of a hold of 0 the proof cannot tell whether the bar or the edit was heard first; both lead to the same view.
    out = decision.state is State.RETRACTED if waited else True
    if out and bar.at_ms - decision.fire_ms > rule.horizon_ms:
        return None
    return (State.RETRACTED if out else State.WITHHELD), _BARS[bar.kind], bar.at_ms


def _by_itself(d: Decision, rule: Rule, grace_ms: int) -> tuple[int, Bar | None]:
    """When it fires by itself, and what for it is withheld then."""
    by_kind: dict[SignalKind, Signal] = {signal.kind: signal for signal in d.signals}
    due_ms = d.start_ms + d.hold_ms
    last_ms = d.start_ms + max(rule.max_hold_ms, d.hold_ms)
    war = by_kind.get(SignalKind.EDIT_WAR)
    at_war = war is not None and rule.war is not None and war.at_ms < due_ms + grace_ms
    if later := by_kind.get(SignalKind.LATER_EDIT):
        due_ms = min(last_ms, max(due_ms, later.at_ms + d.hold_ms))
    reason = Bar.EDIT_WAR if at_war and due_ms >= last_ms else None
    if SignalKind.RISK in d.listened and rule.risk is not None:
        due_ms, over = _risk(d, rule, due_ms, last_ms, grace_ms)
        reason = Bar.RISK if over else reason
    required = {kind for kinds in _REVIEWS.values() for kind in kinds} & set(d.listened)
    if rule.require is not None and required:
        due_ms, came = _review(d, rule, due_ms, grace_ms)
        reason = reason if came or rule.require.otherwise == "release" else Bar.UNREVIEWED
    taints = [s for s in d.signals if s.kind is SignalKind.TAINT]
    for taint in taints:
        if taint.by_rev_id is None:
            due_ms = max(due_ms, taint.at_ms)
    if SignalKind.COVERAGE_GAP in by_kind:
        reason = reason or Bar.COVERAGE_GAP
    if any(taint.by_rev_id is not None for taint in taints):
        due_ms, reason = max(due_ms, d.start_ms + rule.max_hold_ms), reason or Bar.TAINTED
    instant = not d.hold_ms and not (rule.require and required)
    return (d.start_ms if instant else due_ms + grace_ms), reason


def _risk(d: Decision, rule: Rule, due_ms: int, last_ms: int, grace_ms: int) -> tuple[int, bool]:
    risk = rule.risk
    if risk is None:
        return due_ms, False
    scores = [s for s in d.signals if s.kind is SignalKind.RISK and s.model.startswith(risk.model)]
    scores = [s for s in scores if s.score is not None]
    if not any(s.at_ms < due_ms + grace_ms for s in scores):
        due_ms = min([max(due_ms, d.start_ms + SCORE_WAIT_MS), *(s.at_ms for s in scores)])
    known = [s for s in scores if s.at_ms < due_ms + grace_ms]
    last = max(reversed(known), key=lambda s: s.at_ms, default=None)
    over = risk.missing == "over" if last is None else (last.score or 0) > risk_limit(risk, d.wiki)
    if not over:
        return due_ms, False
    if risk.extend_seconds is not None:
        return due_ms + round(risk.extend_seconds * 1000), False
    looked = [s.at_ms for s in d.signals if s.kind in {SignalKind.PATROL, SignalKind.APPROVE} and s.at_ms <= last_ms]
    return (max(due_ms, min(looked)), False) if looked else (last_ms, True)


def _review(d: Decision, rule: Rule, due_ms: int, grace_ms: int) -> tuple[int, bool]:
    if rule.require is None:
        return due_ms, True
    last_ms = max(due_ms, d.start_ms + round(rule.require.wait_seconds * 1000))
    said = sorted((s for s in d.signals if s.kind in _REVIEWS[rule.require.kind]), key=lambda s: s.at_ms)
    for at, given in enumerate(said):
        at_ms = max(due_ms, given.at_ms)
        taken_back = any(s.kind is SignalKind.UNAPPROVE and s.at_ms < at_ms + grace_ms for s in said[at + 1 :])
        if given.kind is not SignalKind.UNAPPROVE and given.at_ms <= last_ms and not taken_back:
            return at_ms, True
    return last_ms, False
