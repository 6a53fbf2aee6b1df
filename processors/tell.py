"""What a signal does to the edits that it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from processors.due import WAIT_MS, close, line_up, look_again, look_closely, next_due, sooner
from processors.fire import floor, outcome, usual_fire_ms
from processors.hear import Flagged, Told
from processors.lineage import REASONS, find
from processors.lines import REVERTS, changed, lines_of
from processors.plans import Rules
from processors.release import decide, has, keep_how_it_went_out, note, take_back, turn, went_out_ms
from processors.ring import merged
from processors.strata import chosen
from processors.untold import catch_up
from processors.waits import begin, flags_of, fresh, join, waiting
from schemas.decision import Decision, Signal
from schemas.page import BLOCKED, PENDING, RELEASED, SUPERSEDED, WITHHELD, Edit, Page, Waiting
from schemas.policy import Rule
from schemas.reasons import SignalKind

# What may clear those above an edit: a signal that tells which of them undid it, or undoes what did; and one by which
# it is held for its risk, or its missing score, no more.
_MAY_CLEAR = frozenset({*REASONS, SignalKind.RISK, SignalKind.PATROL, SignalKind.APPROVE})


def told(page: Page, told: Told, rules: Rules, decisions: list[Decision]) -> None:
    """A signal about one revision of the page, known or not, or about all of them."""
    if not told.rev_id:
        for _, edit in sorted({edit.rev_id: edit for edit in page.edits}.items()):  # the newest epoch of each
            tell(page, edit, told.signal, rules, decisions)
        return
    known = find(page, told.rev_id)
    if told.shows:
        if known is not None and has(known, SignalKind.HIDE):
            _show_again(page, known, told.signal, rules, decisions)
        return
    if known is not None:
        tell(page, known, told.signal, rules, decisions)
    elif not any(w.rev_id == told.rev_id and w.signal == told.signal for w in page.waiting):
        page.dirty = True
        page.waiting.append(Waiting(told.rev_id, told.signal))
        sooner(page, told.signal.at_ms + WAIT_MS)


def _show_again(page: Page, hidden: Edit, signal: Signal, rules: Rules, decisions: list[Decision]) -> None:
    """A revision that was hidden is before readers again: another epoch, and a full hold."""
    if any(e.event_id == signal.event_id for e in page.edits if e.rev_id == hidden.rev_id):
        return
    page.dirty = True
    namespace, kinds, editor_class, _, _ = hidden.context
    context = (namespace, kinds, editor_class, flags_of(page, signal.at_ms, hidden.user, rules), page.topics)
    edit = Edit(
        hidden.rev_id, hidden.epoch + 1, signal.event_id, signal.at_ms, hidden.sha1, hidden.user, context,
        fresh(page, rules), (), 0, (), hidden.partial,
    )  # fmt: skip
    if rules.targets:
        edit.protects = chosen(page, editor_class, signal.at_ms, rules)
    rules.attach(page.wiki, edit)
    tainted = _tainted(page, page.open, signal.at_ms, rules) if page.tricky else []
    join(page, edit, rules)
    _clear(page, tainted, signal.at_ms, rules)
    begin(page, edit, rules, decisions)


def flagged(page: Page, event: Flagged, rules: Rules) -> None:
    """Topics or protection changed: what still waits is held by the rule that matches now."""
    if event.merged_into is not None:
        merged(page, event.event_id)
        return
    if event.topics is not None and not page.count:
        _keep_for_its_edit(page, event, rules)
    if event.topics is not None and event.topics != page.topics:
        page.topics = event.topics
    elif event.protected is not None and bool(page.protected_ms) is not event.protected:
        page.protected_ms = event.at_ms if event.protected else 0
    else:
        return
    page.dirty = True
    for edit in waiting(page, rules):
        namespace, kinds, editor_class, flags, _ = edit.context
        if event.protected is not None and edit.start_ms >= event.at_ms:
            flags = tuple(sorted({*flags, "protected"} if event.protected else {*flags} - {"protected"}))
        keep_how_it_went_out(edit, rules)
        edit.context = (namespace, kinds, editor_class, flags, page.topics)
        rules.attach(page.wiki, edit)
    catch_up(page, rules)
    line_up(page, rules)
    page.due_ms = next_due(page, rules)


def _keep_for_its_edit(page: Page, event: Flagged, rules: Rules) -> None:
    """Topics that come before anything else of their page wait for it, as every signal does."""
    if any(rule.match.topic for policy in rules.policies for rule in policy):
        page.dirty = True
        page.waiting.append(Waiting(0, Signal(kind=SignalKind.RESTORES, event_id=event.event_id, at_ms=event.at_ms)))
        sooner(page, event.at_ms + WAIT_MS)


def tell(page: Page, edit: Edit | None, signal: Signal, rules: Rules, decisions: list[Decision]) -> None:
    """Add a signal to an edit, and draw the consequence."""
    # A hiding that two streams report, or that ended before this epoch began, says nothing new.
    if edit is None or (edit.epoch and signal.at_ms < edit.start_ms):
        return
    if any(s.event_id == signal.event_id and s.kind is signal.kind and s.model == signal.model for s in edit.signals):
        return
    if signal.kind is SignalKind.REVERTED_TAG and _only_reverted_by_self(edit):
        signal = Signal(kind=signal.kind, event_id=signal.event_id, at_ms=signal.at_ms, by_self=True)
    page.dirty = True
    bars = signal.kind in REASONS
    may_clear = _stand_on(page, edit) if page.tricky and signal.kind in _MAY_CLEAR else ()
    tainted = _tainted(page, may_clear, signal.at_ms, rules)
    for lane in range(rules.count) if bars else ():
        if _concerns(edit.plan.rules[lane], signal):
            _bar(page, edit, signal, lane, rules, decisions)
    note(edit, signal)
    changed(page, edit)
    close(page, edit, rules)
    if rules.blocks and bars:
        look_closely(page, rules)
    _clear(page, tainted, signal.at_ms, rules)
    if not bars and page.tricky:
        look_again(page, edit, rules)


def _clear(page: Page, tainted: list[tuple[Edit, int, int]], at_ms: int, rules: Rules) -> None:
    """What of this stands on nothing barred any more waits no longer."""
    for edit, lane, nominal_ms in tainted:
        if edit.states[lane] == PENDING and outcome(page, edit, lane, rules).root is None:
            if at_ms > floor(edit, lane, rules) and nominal_ms <= at_ms:
                edit.floors = (*edit.floors, (rules.lanes[lane], at_ms))
                changed(page, edit)
            look_again(page, edit, rules)


def _stand_on(page: Page, edit: Edit) -> Iterable[Edit]:
    """The edits that wait which a signal about this one may clear: it, and those behind it or behind what it undid."""
    lines = lines_of(page)
    place = lines.place[edit]
    later = page.edits[min(place, lines.undid.get(edit.rev_id, place)) :]
    return [other for other in later if other in page.open]


def _concerns(rule: Rule, signal: Signal) -> bool:
    return signal.kind is not SignalKind.BLOCK or not rule.plain


def _tainted(page: Page, edits: Iterable[Edit], at_ms: int, rules: Rules) -> list[tuple[Edit, int, int]]:
    """What would have fired by now, or by a tick that was heard, if what it stands on were not barred; and when."""
    found = []
    for edit in edits:
        until_ms = max(at_ms, edit.look_ms - 1)
        for lane, rule in enumerate(edit.plan.rules):
            waits = edit.states[lane] == PENDING and not rule.plain
            if waits and usual_fire_ms(edit, lane) <= until_ms:
                verdict = outcome(page, edit, lane, rules, until_ms)
                if verdict.root:
                    found.append((edit, lane, verdict.nominal_ms))
    return found


def _bar(page: Page, edit: Edit, signal: Signal, lane: int, rules: Rules, decisions: list[Decision]) -> None:
    state = edit.states[lane]
    if state == PENDING:
        verdict = outcome(page, edit, lane, rules)
        if signal.at_ms < verdict.fire_ms or lane in edit.plan.instant:
            barred = BLOCKED if signal.kind is SignalKind.BLOCK else WITHHELD
            turn(edit, lane, SUPERSEDED if signal.by_self else barred)
            note(edit, signal)
            changed(page, edit)
            decide(
                page, edit, lane, rules, decisions, fire_ms=verdict.fire_ms, decided_for_ms=signal.at_ms,
                signal=signal, extra=verdict.signals,
            )  # fmt: skip
        # What is due before the signal happened goes out first, at the tick that lets it; then it is taken back.
        return
    if state == RELEASED:
        take_back(page, edit, lane, signal, went_out_ms(page, edit, lane, rules), rules, decisions)


def barred_by_now(page: Page, edit: Edit, lane: int, rules: Rules, decisions: list[Decision]) -> bool:
    """Whether something bars it that came too late for an earlier fire time, and in time for the one it has now."""
    for signal in edit.signals:
        if signal.kind in REASONS and edit.states[lane] == PENDING and _concerns(edit.plan.rules[lane], signal):
            _bar(page, edit, signal, lane, rules, decisions)
    return edit.states[lane] != PENDING


def _only_reverted_by_self(edit: Edit) -> bool:
    reverts = [s for s in edit.signals if s.kind in REVERTS]
    return bool(reverts) and all(signal.by_self for signal in reverts)
