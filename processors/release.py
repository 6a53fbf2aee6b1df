"""How an edit's wait ends: what is written about it, and what that means for the edits around it. Pure."""

from __future__ import annotations

from functools import lru_cache

from processors.due import close
from processors.fire import Verdict, fire_time, usual_fire_ms
from processors.lineage import REASONS, newest_out, older
from processors.lines import changed
from processors.plans import Plan, Rules
from schemas.decision import Decision, Signal
from schemas.page import BLOCKED, HELD, PENDING, RELEASED, RETRACTED, SUPERSEDED, WITHHELD, Edit, Out, Page
from schemas.policy import Rule
from schemas.reasons import Bar, SignalKind, State

_STATES = {
    PENDING: State.PENDING,
    RELEASED: State.RELEASED,
    WITHHELD: State.WITHHELD,
    HELD: State.WITHHELD,
    BLOCKED: State.WITHHELD,
    SUPERSEDED: State.SUPERSEDED,
    RETRACTED: State.RETRACTED,
}
# What other edits of the page say. It stands before the rest of a proof, in this order: which other policies asked for
# it, and when, is not to be seen.
_OF_OTHERS = (SignalKind.OTHER_EDITOR, SignalKind.EDIT_WAR)
# What is of no account for what is out.
_NOT_FOR_RETRACTIONS = frozenset({SignalKind.BLOCK, *_OF_OTHERS})
_OF_THE_EDIT_ITSELF = frozenset({Bar.RISK, Bar.UNREVIEWED, Bar.EDIT_WAR})


def settle(page: Page, edit: Edit, lane: int, verdict: Verdict, rules: Rules, decisions: list[Decision]) -> None:
    """An edit's time has come: it is released, or withheld for what it waited for in vain."""
    if verdict.reason is None:
        release(page, edit, lane, verdict.fire_ms, rules, decisions, extra=verdict.signals)
        return
    turn(edit, lane, HELD if verdict.reason in _OF_THE_EDIT_ITSELF else WITHHELD)
    changed(page, edit)
    decide(
        page, edit, lane, rules, decisions, fire_ms=verdict.fire_ms, decided_for_ms=verdict.fire_ms,
        reason=verdict.reason, extra=verdict.signals,
    )  # fmt: skip


def release(
    page: Page,
    edit: Edit,
    lane: int,
    fire_ms: int,
    rules: Rules,
    decisions: list[Decision],
    extra: tuple[Signal, ...] = (),
) -> None:
    """Release one edit, unless a newer one is out; older ones that still wait are superseded by it.

    What was heard before its tick and happened after it was due takes it back at once.
    """
    latest = edit.plan.latest[lane]
    if latest and edit.rev_id < page.newest[lane]:
        newest = newest_out(page, lane)
        if newest is not None and newest.rev_id > edit.rev_id:
            turn(edit, lane, SUPERSEDED)
            decide(page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, by=newest.rev_id)
            return
    turn(edit, lane, RELEASED)
    if page.lines is not None:
        page.lines.ended(edit, lane)
    if fire_ms - edit.start_ms != edit.plan.waits_ms[lane] or (rules.targets and _is_chosen_late(edit, lane)):
        mark = rules.mark_of(edit.plan.rules[lane])
        edit.out = (*edit.out, (rules.lanes[lane], fire_ms, edit.context, mark))
    if edit.rev_id > page.newest[lane]:
        page.newest[lane] = edit.rev_id
    decide(page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, extra=extra)
    if latest and len(page.open) > 1:
        for other in older(page, edit, lane):
            turn(other, lane, SUPERSEDED)
            own = fire_time(page, other, lane, rules)
            decide(page, other, lane, rules, decisions, fire_ms=own, decided_for_ms=fire_ms, by=edit.rev_id)
            close(page, other, rules)
        page.swept[lane] = max(page.swept[lane], edit.rev_id)
    for signal in edit.signals:
        if edit.states[lane] == RELEASED and signal.at_ms >= fire_ms and signal.kind in REASONS:
            take_back(page, edit, lane, signal, fire_ms, rules, decisions)


def _is_chosen_late(edit: Edit, lane: int) -> bool:
    """Whether its hold is of the table that there was when the policies came: others bring another one."""
    protect = edit.plan.protects[lane]
    return protect is not None and protect not in edit.protects


def take_back(
    page: Page, edit: Edit, lane: int, signal: Signal, fire_ms: int, rules: Rules, decisions: list[Decision]
) -> None:
    """Retract an edit that is out, if the signal came within the horizon and is of a kind that can.

    It is told by the rule by which it went out; if another one came into force since, by that.
    """
    plan, _ = _as_it_went_out(page, edit, lane, rules)
    if _takes_back(signal, fire_ms, plan.rules[lane]):
        turn(edit, lane, RETRACTED)
        note(edit, signal)
        changed(page, edit)
        decide(
            page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=signal.at_ms, signal=signal, plan=plan
        )


def _takes_back(signal: Signal, fire_ms: int, rule: Rule) -> bool:
    within = signal.at_ms - fire_ms <= rule.horizon_ms
    return within and not signal.by_self and signal.kind is not SignalKind.BLOCK


def overdue(page: Page, edit: Edit, lane: int, rules: Rules) -> Signal | None:
    """What should take back an edit that is out, and did not, as its policy was gone when that was heard."""
    if edit.states[lane] != RELEASED:
        return None
    plan, fire_ms = _as_it_went_out(page, edit, lane, rules)
    bars = (signal for signal in edit.signals if signal.kind in REASONS)
    return next((signal for signal in bars if _takes_back(signal, fire_ms, plan.rules[lane])), None)


def went_out_ms(page: Page, edit: Edit, lane: int, rules: Rules) -> int:
    """The fire time with which an edit was released."""
    return _as_it_went_out(page, edit, lane, rules)[1]


def keep_how_it_went_out(edit: Edit, rules: Rules) -> None:
    """Before another rule may match an edit: where it is out, it stays as it was."""
    for lane in range(rules.count):
        if edit.states[lane] == RELEASED and _kept(edit, lane, rules) is None:
            mark = rules.mark_of(edit.plan.rules[lane])
            edit.out = (*edit.out, (rules.lanes[lane], usual_fire_ms(edit, lane), edit.context, mark))


def _as_it_went_out(page: Page, edit: Edit, lane: int, rules: Rules) -> tuple[Plan, int]:
    kept = _kept(edit, lane, rules)
    if kept is None:
        return edit.plan, usual_fire_ms(edit, lane)
    _, fire_ms, context, mark = kept
    plan = rules.plan(page.wiki, context, edit.protects)
    return plan, fire_ms if mark == rules.mark_of(plan.rules[lane]) else usual_fire_ms(edit, lane, plan)


def _kept(edit: Edit, lane: int, rules: Rules) -> Out | None:
    place = rules.lanes[lane][0]
    return next((each for each in edit.out if place in each[0]), None)


def has(edit: Edit, kind: SignalKind) -> bool:
    """Whether an edit was told a signal of a kind."""
    return any(signal.kind is kind for signal in edit.signals)


def note(edit: Edit, signal: Signal) -> None:
    """Remember a signal about an edit, once."""
    if not any(
        s.event_id == signal.event_id and s.kind is signal.kind and s.model == signal.model for s in edit.signals
    ):
        edit.signals = (*edit.signals, signal)


def turn(edit: Edit, lane: int, state: int) -> None:
    """Put an edit into another state under one lane."""
    edit.states = _turned(edit.states, lane, state)


@lru_cache(maxsize=100_000)
def _turned(states: bytes, lane: int, state: int) -> bytes:
    """One object for equal states: a million edits have a few dozen of them."""
    changed = bytearray(states)
    changed[lane] = state
    return _shared(bytes(changed))


@lru_cache(maxsize=100_000)
def _shared(states: bytes) -> bytes:
    return states


def decide(
    page: Page,
    edit: Edit,
    lane: int,
    rules: Rules,
    decisions: list[Decision],
    *,
    fire_ms: int,
    decided_for_ms: int,
    signal: Signal | None = None,
    reason: Bar | None = None,
    by: int | None = None,
    extra: tuple[Signal, ...] = (),
    plan: Plan | None = None,
) -> None:
    """Write down that an edit has come into the state in which it is."""
    page.dirty = True
    plan = plan or edit.plan
    signals = edit.signals
    if signals or extra:
        signals = _proof(edit, plan, lane, decided_for_ms, signal, extra)
    state = edit.states[lane]
    if signal is not None and state == SUPERSEDED:
        by = signal.by_rev_id
    elif signal is not None:
        reason = REASONS[signal.kind]
    # By position: with names it takes twice as long, and this is done for every edit under every policy.
    decisions.append(
        Decision(
            rules.spoken[lane],
            page.wiki,
            page.page_id,
            edit.rev_id,
            edit.epoch,
            _STATES[state],
            reason,
            edit.event_id,
            edit.start_ms,
            plan.holds_ms[lane],
            fire_ms,
            decided_for_ms,
            signals,
            by,
            plan.numbers[lane],
            plan.listened[lane],
            edit.partial,
            plan.protects[lane],
        )
    )


def _proof(
    edit: Edit,
    plan: Plan,
    lane: int,
    decided_for_ms: int,
    signal: Signal | None,
    extra: tuple[Signal, ...],
) -> tuple[Signal, ...]:
    """The signals that had a part in a decision."""
    signals, heeded, war = edit.signals, plan.heeded[lane], plan.rules[lane].war
    if signal is None and signals:
        # A release that goes before its signal was decided without it.
        signals = tuple(s for s in signals if s.at_ms < decided_for_ms)
    of_others = [s for kind in _OF_OTHERS if kind in heeded for s in signals if s.kind is kind]
    if signal is not None and signal in signals:
        # What was heard after it had no part in it.
        signals = signals[: signals.index(signal) + 1]
    if extra:
        signals = (*(s for s in extra if s not in signals), *signals)
    if of_others:
        signals = (*of_others, *(s for s in signals if s.kind not in _OF_OTHERS))
    if war is not None:
        # Of the wars that rules see, this one's.
        signals = tuple(
            s if s.kind is not SignalKind.EDIT_WAR else s._replace(model="")
            for s in signals
            if s.kind is not SignalKind.EDIT_WAR or s.model == war.name
        )
    # What only a policy beside it listens to is none of its business.
    taken_back = edit.states[lane] == RETRACTED
    return tuple(s for s in signals if s.kind in heeded and not (taken_back and s.kind in _NOT_FOR_RETRACTIONS))
