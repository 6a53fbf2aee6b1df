"""How an edit's wait ends: what is written about it, and what that means for the edits around it. Pure."""

from __future__ import annotations

from functools import lru_cache

from processors.due import close
from processors.fire import Verdict, fire_time
from processors.lineage import REASONS, newer_out, older
from processors.lines import changed
from processors.plans import Plan, Rules
from schemas.decision import Decision, Signal
from schemas.page import PENDING, RELEASED, RETRACTED, SUPERSEDED, WITHHELD, Edit, Page
from schemas.reasons import Bar, SignalKind, State

_STATES = {
    PENDING: State.PENDING,
    RELEASED: State.RELEASED,
    WITHHELD: State.WITHHELD,
    SUPERSEDED: State.SUPERSEDED,
    RETRACTED: State.RETRACTED,
}


def settle(page: Page, edit: Edit, lane: int, verdict: Verdict, rules: Rules, decisions: list[Decision]) -> None:
    """An edit's time has come: it is released, or withheld for what it waited for in vain."""
    if verdict.reason is None:
        release(page, edit, lane, verdict.fire_ms, rules, decisions, extra=verdict.signals)
        return
    page.dirty = True
    turn(edit, lane, WITHHELD)
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
    page.dirty = True
    latest = edit.plan.latest[lane]
    if latest and edit.rev_id < page.newest[lane]:
        newer = next((other.rev_id for other in newer_out(page, edit, lane)), None)
        if newer is not None:
            turn(edit, lane, SUPERSEDED)
            decide(page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, by=newer)
            return
    turn(edit, lane, RELEASED)
    if page.lines is not None:
        page.lines.released(edit, lane)
    if edit.rev_id > page.newest[lane]:
        page.newest[lane] = edit.rev_id
    decide(page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, extra=extra)
    if latest and len(page.open) > 1:
        for other in older(page, edit, lane):
            turn(other, lane, SUPERSEDED)
            own = fire_time(page, other, lane, rules)
            decide(page, other, lane, rules, decisions, fire_ms=own, decided_for_ms=fire_ms, by=edit.rev_id)
            close(page, other, rules)
    for signal in edit.signals:
        if edit.states[lane] == RELEASED and signal.at_ms >= fire_ms and signal.kind in REASONS:
            take_back(page, edit, lane, signal, fire_ms, rules, decisions)


def take_back(
    page: Page, edit: Edit, lane: int, signal: Signal, fire_ms: int, rules: Rules, decisions: list[Decision]
) -> None:
    """Retract an edit that is out, if the signal came within the horizon and is of a kind that can."""
    within = signal.at_ms - fire_ms <= edit.plan.rules[lane].horizon_ms
    if within and not signal.by_self and signal.kind is not SignalKind.BLOCK:
        turn(edit, lane, RETRACTED)
        note(edit, signal)
        decide(page, edit, lane, rules, decisions, fire_ms=fire_ms, decided_for_ms=signal.at_ms, signal=signal)


def note(edit: Edit, signal: Signal) -> None:
    """Remember a signal about an edit, once."""
    if not any(s.event_id == signal.event_id and s.kind is signal.kind for s in edit.signals):
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
) -> None:
    """Write down that an edit has come into the state in which it is."""
    plan: Plan = edit.plan
    signals = edit.signals
    if signals or extra:
        signals = _proof(edit, lane, decided_for_ms, signal, extra)
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
    edit: Edit, lane: int, decided_for_ms: int, signal: Signal | None, extra: tuple[Signal, ...]
) -> tuple[Signal, ...]:
    """The signals that had a part in a decision."""
    signals = edit.signals
    if signal is None and signals:
        # A release that goes before its signal was decided without it.
        signals = tuple(s for s in signals if s.at_ms < decided_for_ms)
    elif signal in signals:
        # What was heard after it had no part in it.
        signals = signals[: signals.index(signal) + 1]
    if extra:
        signals = (*(s for s in extra if s not in signals), *signals)
    # What only a policy beside it listens to is none of its business; and a block takes nothing back.
    heeded = edit.plan.heeded[lane]
    taken_back = edit.states[lane] == RETRACTED
    return tuple(s for s in signals if s.kind in heeded and not (taken_back and s.kind is SignalKind.BLOCK))
