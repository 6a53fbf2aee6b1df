"""The gate: what one event, or time itself, does to one page under every policy. Pure.

    PENDING  --fire time heard, no bar-----------------------------> RELEASED
    PENDING  --revert by another | delete | hide | block-----------> WITHHELD(reason)
    PENDING  --risk, no review, war, taint at the fire time--------> WITHHELD(reason)
    PENDING  --self-revert | a newer edit is released--------------> SUPERSEDED(by)
    RELEASED --revert by another | delete | hide, in the horizon---> RETRACTED(reason)

Fire time f = start of the hold + hold + grace. A signal about a waiting edit whose event time is before f bars it; at
or after f the release goes first and the retraction follows, however late the tick comes that would have released it.
A hold of 0 releases what it observes: no tick, no grace. Nothing is ever un-withheld: text that comes back comes back
as another revision, or (undeletion, un-hiding) as another epoch of the same one.

`observe` and `advance` change the page that they are given and return it: the caller owns it and must not use an
older one. Apart from that they are functions: the same page, event and rules give the same page and decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from processors.fire import Verdict, fire_time, outcome
from processors.hear import Blocked, Edited, Flagged, Heard, Told
from processors.lineage import LAST_EDITS, REASONS, REVERTS, TEXT_BARS, find, newer_out, reviewed_head
from processors.plans import Plan, Rules
from schemas.decision import Decision, Signal
from schemas.page import NONE, PENDING, RELEASED, RETRACTED, SUPERSEDED, WITHHELD, Context, Edit, Page, Waiting
from schemas.policy import Rule
from schemas.reasons import SignalKind, State

# Radius of an identity revert: at most 15 revisions lie between the restored one and the restoring one.
RING = 16
# Signals often come before the page_change of their revision.
WAIT_MS = 600_000
# Beyond so many, a page's oldest settled edits are forgotten before the horizon.
MOST_EDITS = 4096
# An edit that was held for its risk, or its missing score, may be held no more.
CLEARING = frozenset({SignalKind.RISK, SignalKind.PATROL, SignalKind.APPROVE})
# So many editors within an hour are breaking news.
BREAKING_EDITORS, BREAKING_MS = 10, 3_600_000

# (fire time, revision, (epoch, policy), edit, policy): sorted by the first three.
Due = tuple[int, int, tuple[int, int], Edit, int]

_STATES = {
    PENDING: State.PENDING,
    RELEASED: State.RELEASED,
    WITHHELD: State.WITHHELD,
    SUPERSEDED: State.SUPERSEDED,
    RETRACTED: State.RETRACTED,
}


def observe(page: Page, heard: Heard, rules: Rules) -> tuple[Page, list[Decision]]:
    """What an event does to its page. A repeat changes nothing, and leaves `page.dirty` as it was."""
    decisions: list[Decision] = []
    if type(heard) is Edited:
        _edited(page, heard, rules, decisions)
    elif type(heard) is Told:
        _told(page, heard, rules, decisions)
    elif type(heard) is Blocked:
        for edit in [e for e in page.open if e.user == heard.user and e.start_ms <= heard.signal.at_ms]:
            _tell(page, edit, heard.signal, rules, decisions)
    elif type(heard) is Flagged:
        _flagged(page, heard, rules)
    return page, decisions


def advance(page: Page, heard_ms: Sequence[int], rules: Rules) -> tuple[Page, list[Decision]]:
    """Fire what is due, oldest fire time first; forget what is past every limit.

    heard_ms: the watermark of each set of required streams, in the order of `rules.watermarks`.
    """
    decisions: list[Decision] = []
    due: list[Due] = []
    for edit in page.open:
        due += _due(page, edit, heard_ms, rules)
    due.sort(key=lambda entry: entry[:3])
    for number, (fire_ms, _, _, edit, policy) in enumerate(due, start=1):
        if number % 64 == 0:
            page.open = [other for other in page.open if PENDING in other.states[: rules.count]]
        if edit.states[policy] != PENDING or (edit.signals and _barred_by_now(page, edit, policy, rules, decisions)):
            continue
        if not page.tricky:
            _release(page, edit, policy, fire_ms, rules, decisions)
            continue
        verdict = outcome(page, edit, policy, rules)
        if verdict.fire_ms <= heard_ms[edit.plan.watermarks[policy]]:
            _settle(page, edit, policy, verdict, rules, decisions)
    if due:
        page.open = [edit for edit in page.open if PENDING in edit.states[: rules.count]]
    _forget(page, max(heard_ms), rules)
    page.due_ms = _next_due(page, rules, max(heard_ms))
    return page, decisions


def take_up(page: Page, rules: Rules) -> Page:
    """Make a page ready that was read from somewhere, or put other policies in force for it.

    What waits under any policy waits under the new ones, and what is out stays out, also where its policy was gone
    for a while.
    """
    if page.names[: rules.count] != rules.names:
        _rename(page, rules)
    page.open = []
    for edit in page.edits:
        _attach(page.wiki, edit, rules)
        if PENDING in edit.states[: rules.count]:
            page.open.append(edit)
    page.tricky = _is_tricky(page, rules)
    page.due_ms = _next_due(page, rules)
    return page


def _rename(page: Page, rules: Rules) -> None:
    gone = tuple(name for name in page.names if name not in rules.names)
    old, names = {name: at for at, name in enumerate(page.names)}, rules.names + gone
    for edit in page.edits:
        fresh = PENDING if PENDING in edit.states else NONE
        edit.states = bytes(edit.states[old[name]] if name in old else fresh for name in names)
    page.names = names


def _attach(wiki: str, edit: Edit, rules: Rules) -> None:
    edit.plan = rules.plan(wiki, edit.context)
    edit.context = edit.plan.context  # the one that all edits of this kind share
    edit.step = 0
    _pass_steps(edit)


def _pass_steps(edit: Edit) -> None:
    steps, states, step = edit.plan.steps, edit.states, edit.step
    while step < len(steps):
        for policy in steps[step][1]:
            if states[policy] == PENDING:
                edit.step = step
                return
        step += 1
    edit.step = step


def _is_tricky(page: Page, rules: Rules) -> bool:
    """Whether edits of this page may have to wait for something else than their hold."""
    return (
        bool(rules.gaps)
        or any(edit.plan.special or edit.floor_ms for edit in page.open)
        or (rules.blocks and any(WITHHELD in edit.states or RETRACTED in edit.states for edit in page.edits))
    )


def _due(page: Page, edit: Edit, heard_ms: Sequence[int], rules: Rules) -> list[Due]:
    """What `edit` may do by now."""
    found: list[Due] = []
    if not page.tricky:
        for delay_ms, policies in edit.plan.steps[edit.step :]:
            if edit.start_ms + delay_ms > heard_ms[0]:
                break
            found += [(edit.start_ms + delay_ms, edit.rev_id, (edit.epoch, i), edit, i) for i in policies]
        return found
    if edit.look_ms > max(heard_ms):
        return found
    plan: Plan = edit.plan
    for i in range(rules.count):
        if edit.states[i] == PENDING and _soonest(edit, i, rules) <= heard_ms[plan.watermarks[i]]:
            until_ms = heard_ms[plan.watermarks[i]]
            fire_ms = outcome(page, edit, i, rules, until_ms).fire_ms
            if fire_ms <= heard_ms[plan.watermarks[i]]:
                found.append((fire_ms, edit.rev_id, (edit.epoch, i), edit, i))
    return found


def _soonest(edit: Edit, policy: int, rules: Rules) -> int:
    """Everything that an edit may have to wait for comes on top of its hold."""
    hold_ms: int = edit.plan.holds_ms[policy]
    return edit.start_ms + hold_ms + rules.grace_ms


def _next_due(page: Page, rules: Rules, heard_ms: int = -1) -> int | None:
    """A watermark before which `advance` will not change this page; None = never.

    heard_ms: how far `advance` has come; what should have fired by then is looked at more closely.
    """
    times = [w.signal.at_ms + WAIT_MS for w in page.waiting]
    if page.edits:
        times.append(page.edits[0].start_ms + rules.keep_ms)
    for edit in page.open:
        times += _edit_due(page, edit, rules, heard_ms)
    return min(times, default=None)


def _edit_due(page: Page, edit: Edit, rules: Rules, heard_ms: int = -1) -> list[int]:
    steps = edit.plan.steps
    if not page.tricky:
        return [edit.start_ms + steps[edit.step][0]] if edit.step < len(steps) else []
    if edit.look_ms > heard_ms >= 0:
        return [edit.look_ms]
    found = []
    for i in range(rules.count):
        if edit.states[i] == PENDING:
            soonest_ms = _soonest(edit, i, rules)
            found.append(soonest_ms if soonest_ms > heard_ms else outcome(page, edit, i, rules, heard_ms).fire_ms)
    edit.look_ms = min(found, default=0) if heard_ms >= 0 else 0
    return found


def _sooner(page: Page, due_ms: int) -> None:
    if page.due_ms is None or due_ms < page.due_ms:
        page.due_ms = due_ms


def _edited(page: Page, event: Edited, rules: Rules, decisions: list[Decision]) -> None:
    newest = page.edits[-1] if page.edits else None
    known = (
        None
        if newest is None or event.rev_id > max(newest.rev_id, page.ring[-1][0] if page.ring else 0)
        else find(page, event.rev_id)
    )
    if known is not None and (
        not event.undelete or any(e.event_id == event.event_id for e in page.edits if e.rev_id == event.rev_id)
    ):
        return
    page.dirty = True
    page.title = event.title
    partial = _seed(page, event)
    restores, undone = _identity(page.ring, event)
    if not event.undelete:
        _apply_reverts(page, event, undone, rules, decisions)
    edit = _new_edit(page, event, known, restores, rules)
    edit.partial = partial
    page.edits.append(edit)
    page.open.append(edit)
    if not any(rev_id == event.rev_id for rev_id, _ in page.ring):
        page.ring.append((event.rev_id, event.sha1))
        del page.ring[:-RING]
    if edit.plan.special or rules.gaps:
        page.tricky = True
    if rules.neighbours:
        _note_neighbours(page, edit, rules, decisions)
    if event.hidden:
        hide = Signal(kind=SignalKind.HIDE, event_id=event.event_id, at_ms=event.at_ms)
        _tell(page, edit, hide, rules, decisions)
    if page.waiting:
        for waiting in [w for w in page.waiting if w.rev_id == event.rev_id]:
            page.waiting.remove(waiting)
            _tell(page, find(page, event.rev_id), waiting.signal, rules, decisions)
    if rules.blocks and event.sha1 is not None and not event.undelete:
        _release_what_is_out_already(page, edit, rules, decisions)
    for policy in edit.plan.instant:
        if edit.states[policy] == PENDING:
            _release(page, edit, policy, edit.start_ms, rules, decisions)
    _close(page, edit, rules)
    for due_ms in _edit_due(page, edit, rules) if PENDING in edit.states else ():
        _sooner(page, due_ms)
    _sooner(page, edit.start_ms + rules.keep_ms)


def _seed(page: Page, event: Edited) -> bool:
    """Put the revision before this one into the ring if it is not there. True if nothing tells what it was."""
    if event.prior is not None and not any(rev_id == event.prior[0] for rev_id, _ in page.ring):
        if not page.ring or event.prior[0] > page.ring[-1][0]:
            page.ring.append(event.prior)
            del page.ring[:-RING]
        return False
    return event.prior is None and bool(event.parent_id) and all(rev_id != event.parent_id for rev_id, _ in page.ring)


def _identity(ring: Sequence[tuple[int, str | None]], event: Edited) -> tuple[int, list[int]]:
    """The latest earlier revision with this one's text (0 = none), and those between, which have another."""
    if event.sha1 is None:
        return 0, []
    for at in range(len(ring) - 1, -1, -1):
        if ring[at][1] == event.sha1 and ring[at][0] != event.rev_id:
            return ring[at][0], [rev_id for rev_id, _ in ring[at + 1 :] if rev_id != event.rev_id]
    return 0, []


def _apply_reverts(page: Page, event: Edited, same: list[int], rules: Rules, decisions: list[Decision]) -> None:
    """Bar what this edit undid: by what it declares, else by the text it restores."""
    undone = dict.fromkeys(same, SignalKind.IDENTITY_REVERT)
    if event.undone is not None:
        oldest, newest = event.undone
        undone |= {e.rev_id: SignalKind.DECLARED_REVERT for e in page.edits if oldest <= e.rev_id <= newest}
    by_another = False
    for rev_id, kind in sorted(undone.items()):
        edit = find(page, rev_id)
        if edit is None or rev_id == event.rev_id:
            continue
        by_self = event.user is not None and edit.user == event.user
        by_another = by_another or not by_self
        signal = Signal(kind=kind, event_id=event.event_id, at_ms=event.rev_ms, by_rev_id=event.rev_id, by_self=by_self)
        _tell(page, edit, signal, rules, decisions)
    if by_another and rules.war_ms and event.user is not None:
        page.reverts.append((event.start_ms, event.user))
        del page.reverts[:-RING]


def _new_edit(page: Page, event: Edited, known: Edit | None, restores: int, rules: Rules) -> Edit:
    flags: tuple[str, ...] = ()
    if rules.titles or rules.breaking:
        flags = _flags(page, event.start_ms, event.user, rules)
    context: Context = (event.namespace, event.kinds, event.editor_class, flags, page.topics)
    plan = rules.plan(page.wiki, context)
    if not page.names:
        page.names = rules.names
    return Edit(
        event.rev_id,
        int(event.undelete) if known is None else known.epoch + 1,
        event.event_id,
        event.start_ms,
        event.sha1,
        event.user,
        plan.context,
        rules.zero if len(page.names) == rules.count else rules.zero + b"5" * (len(page.names) - rules.count),
        (),
        0 if event.undelete else restores,
        0,
        False,
        0,
        0,
        plan,
    )


def _flags(page: Page, at_ms: int, user: str | None, rules: Rules) -> tuple[str, ...]:
    flags: tuple[str, ...] = ("protected",) if page.protected_ms and page.protected_ms <= at_ms else ()
    if rules.breaking:
        editors = {e.user for e in page.edits if at_ms - BREAKING_MS < e.start_ms <= at_ms and e.user} | {user}
        flags += ("breaking",) if len(editors) >= BREAKING_EDITORS else ()
    return flags


def _note_neighbours(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """Tell the others that wait that somebody edited after them, and all of them that the page is at war."""
    for other in page.open:
        by_another = other is not edit and edit.user is not None and edit.user != other.user
        if by_another and _waits_for_others(other) and not _has(other, SignalKind.OTHER_EDITOR):
            signal = Signal(
                kind=SignalKind.OTHER_EDITOR, event_id=edit.event_id, at_ms=edit.start_ms, by_rev_id=edit.rev_id
            )
            _tell(page, other, signal, rules, decisions)
    if _at_war(page, edit.start_ms, rules):
        for other in page.open:
            waits = (state == PENDING and rule.war for state, rule in zip(other.states, other.plan.rules, strict=False))
            if any(waits) and not _has(other, SignalKind.EDIT_WAR):
                signal = Signal(kind=SignalKind.EDIT_WAR, event_id=edit.event_id, at_ms=edit.start_ms)
                _tell(page, other, signal, rules, decisions)


def _waits_for_others(edit: Edit) -> bool:
    plan: Plan = edit.plan
    reviews = zip(edit.states, plan.reviews, strict=False)
    return plan.wants_others and any(state == PENDING and review == "other_editor" for state, review in reviews)


def _at_war(page: Page, at_ms: int, rules: Rules) -> bool:
    for number, span_ms in rules.wars:
        recent = [user for when, user in page.reverts if at_ms - span_ms < when <= at_ms]
        if len(recent) >= number and len(set(recent)) > 1:
            return True
    return False


def _has(edit: Edit, kind: SignalKind) -> bool:
    return any(signal.kind is kind for signal in edit.signals)


def _release_what_is_out_already(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """An edit whose text is that of the newest one that is out changes nothing for a reader: it goes out at once."""
    if edit.epoch or "create" in edit.context[1]:
        return
    for policy, rule in enumerate(edit.plan.rules):
        if rule.restore and edit.states[policy] == PENDING and edit.plan.holds_ms[policy]:
            head = reviewed_head(page, policy, edit)
            if head is not None and head.sha1 == edit.sha1:
                same = Signal(
                    kind=SignalKind.RESTORES, event_id=head.event_id, at_ms=edit.start_ms, by_rev_id=head.rev_id
                )
                _release(page, edit, policy, edit.start_ms, rules, decisions, extra=(same,))


def _told(page: Page, told: Told, rules: Rules, decisions: list[Decision]) -> None:
    if not told.rev_id:
        for rev_id in dict.fromkeys(edit.rev_id for edit in page.edits):
            _tell(page, find(page, rev_id), told.signal, rules, decisions)
        return
    edit = find(page, told.rev_id)
    if told.shows:
        if edit is not None and _has(edit, SignalKind.HIDE):
            _show_again(page, edit, told.signal, rules, decisions)
        return
    if edit is not None:
        _tell(page, edit, told.signal, rules, decisions)
    elif not any(w.rev_id == told.rev_id and w.signal == told.signal for w in page.waiting):
        page.dirty = True
        page.waiting.append(Waiting(told.rev_id, told.signal))
        _sooner(page, told.signal.at_ms + WAIT_MS)


def _show_again(page: Page, hidden: Edit, signal: Signal, rules: Rules, decisions: list[Decision]) -> None:
    """A revision that was hidden is before readers again: another epoch, and a full hold."""
    if any(e.event_id == signal.event_id for e in page.edits if e.rev_id == hidden.rev_id):
        return
    page.dirty = True
    edit = Edit(
        hidden.rev_id, hidden.epoch + 1, signal.event_id, signal.at_ms, hidden.sha1, hidden.user, hidden.context,
        rules.zero + b"5" * (len(page.names) - rules.count), (), 0, 0, hidden.partial,
    )  # fmt: skip
    _attach(page.wiki, edit, rules)
    tainted = _tainted(page, signal.at_ms, rules) if page.tricky else []
    page.edits.append(edit)
    page.open.append(edit)
    page.tricky = _is_tricky(page, rules)
    _clear(page, tainted, signal.at_ms, rules)
    for policy in edit.plan.instant:
        _release(page, edit, policy, edit.start_ms, rules, decisions)
    _close(page, edit, rules)
    for due_ms in _edit_due(page, edit, rules) if PENDING in edit.states else ():
        _sooner(page, due_ms)
    _sooner(page, edit.start_ms + rules.keep_ms)


def _flagged(page: Page, event: Flagged, rules: Rules) -> None:
    """Topics or protection changed: what still waits is held by the rule that matches now."""
    if event.topics is not None and event.topics != page.topics:
        page.topics = event.topics
    elif event.protected is not None and bool(page.protected_ms) is not event.protected:
        page.protected_ms = event.at_ms if event.protected else 0
    else:
        return
    page.dirty = True
    for edit in page.open:
        namespace, kinds, editor_class, flags, _ = edit.context
        if event.protected is not None and edit.start_ms >= event.at_ms:
            flags = tuple(sorted({*flags, "protected"} if event.protected else {*flags} - {"protected"}))
        edit.context = (namespace, kinds, editor_class, flags, page.topics)
        _attach(page.wiki, edit, rules)
    page.tricky = _is_tricky(page, rules)
    page.due_ms = _next_due(page, rules)


def _tell(page: Page, edit: Edit | None, signal: Signal, rules: Rules, decisions: list[Decision]) -> None:
    """Add a signal to an edit, and draw the consequence."""
    # A hiding that two streams report, or that ended before this epoch began, says nothing new.
    if edit is None or (edit.epoch and signal.at_ms < edit.start_ms):
        return
    if any(s.event_id == signal.event_id and s.kind is signal.kind for s in edit.signals):
        return
    if signal.kind is SignalKind.REVERTED_TAG and _only_reverted_by_self(edit):
        signal = Signal(kind=signal.kind, event_id=signal.event_id, at_ms=signal.at_ms, by_self=True)
    page.dirty = True
    bars = signal.kind in REASONS
    # What stood on an edit is clean again once it is told which later one undid it, or that one is undone itself.
    told = any(s.kind in TEXT_BARS for s in edit.signals) or _undid(page, edit) if bars else signal.kind in CLEARING
    clears = told and page.tricky
    tainted = _tainted(page, signal.at_ms, rules) if clears else []
    for policy in range(rules.count) if bars else ():
        if _concerns(edit.plan.rules[policy], signal):
            _bar(page, edit, signal, policy, rules, decisions)
    _note(edit, signal)
    _close(page, edit, rules)
    if rules.blocks and bars:
        page.tricky = True
    _clear(page, tainted, signal.at_ms, rules)
    if not bars and page.tricky:
        _look_again(page, edit, rules)


def _clear(page: Page, tainted: list[tuple[Edit, int]], at_ms: int, rules: Rules) -> None:
    """What of this stands on nothing barred any more waits no longer."""
    for edit, policy in tainted:
        if edit.states[policy] == PENDING and outcome(page, edit, policy, rules).root is None:
            edit.floor_ms = max(edit.floor_ms, at_ms)
            _look_again(page, edit, rules)


def _undid(page: Page, edit: Edit) -> bool:
    """Whether this edit is why others are barred."""
    near = islice(reversed(page.edits), LAST_EDITS)
    return any(signal.by_rev_id == edit.rev_id for other in near for signal in other.signals)


def _look_again(page: Page, edit: Edit, rules: Rules) -> None:
    """Something came that may let an edit go sooner than was thought."""
    edit.look_ms = 0
    for due_ms in _edit_due(page, edit, rules):
        _sooner(page, due_ms)


def _close(page: Page, edit: Edit, rules: Rules) -> None:
    """Take an edit from those that wait once it waits under no policy."""
    if PENDING in edit.states[: rules.count] or not page.open:
        return
    if page.open[-1] is edit:
        page.open.pop()
    else:
        page.open = [other for other in page.open if other is not edit]


def _concerns(rule: Rule, signal: Signal) -> bool:
    return signal.kind is not SignalKind.BLOCK or not rule.plain


def _tainted(page: Page, at_ms: int, rules: Rules) -> list[tuple[Edit, int]]:
    """What would have fired by now if what it stands on were not barred."""
    found = []
    for edit in page.open:
        for policy, rule in enumerate(edit.plan.rules):
            waits = edit.states[policy] == PENDING and not rule.plain
            if waits and _soonest(edit, policy, rules) <= at_ms:
                verdict = outcome(page, edit, policy, rules, at_ms)
                if verdict.root and verdict.nominal_ms <= at_ms:
                    found.append((edit, policy))
    return found


def _bar(page: Page, edit: Edit, signal: Signal, policy: int, rules: Rules, decisions: list[Decision]) -> None:
    state = edit.states[policy]
    hold_ms = edit.plan.holds_ms[policy]
    if state == PENDING:
        verdict = outcome(page, edit, policy, rules)
        if signal.at_ms < verdict.fire_ms or policy in edit.plan.instant:
            _set(edit, policy, SUPERSEDED if signal.by_self else WITHHELD)
            _note(edit, signal)
            _decide(
                page, edit, policy, rules, decisions, fire_ms=verdict.fire_ms, decided_for_ms=signal.at_ms,
                signal=signal, extra=verdict.signals,
            )  # fmt: skip
        # What is due before the signal happened goes out first, at the tick that lets it; then it is taken back.
        return
    if state == RELEASED:
        fire_ms = fire_time(page, edit, policy, rules) if hold_ms else edit.start_ms
        _take_back(page, edit, policy, signal, fire_ms, rules, decisions)


def _barred_by_now(page: Page, edit: Edit, policy: int, rules: Rules, decisions: list[Decision]) -> bool:
    """Whether something bars it that came too late for an earlier fire time, and in time for the one it has now."""
    for signal in edit.signals:
        if signal.kind in REASONS and edit.states[policy] == PENDING and _concerns(edit.plan.rules[policy], signal):
            _bar(page, edit, signal, policy, rules, decisions)
    return edit.states[policy] != PENDING


def _take_back(
    page: Page, edit: Edit, policy: int, signal: Signal, fire_ms: int, rules: Rules, decisions: list[Decision]
) -> None:
    within = signal.at_ms - fire_ms <= edit.plan.rules[policy].horizon_ms
    if within and not signal.by_self and signal.kind is not SignalKind.BLOCK:
        _set(edit, policy, RETRACTED)
        _note(edit, signal)
        _decide(page, edit, policy, rules, decisions, fire_ms=fire_ms, decided_for_ms=signal.at_ms, signal=signal)


def _note(edit: Edit, signal: Signal) -> None:
    if not any(s.event_id == signal.event_id and s.kind is signal.kind for s in edit.signals):
        edit.signals = (*edit.signals, signal)


def _settle(page: Page, edit: Edit, policy: int, verdict: Verdict, rules: Rules, decisions: list[Decision]) -> None:
    """An edit's time has come: it is released, or withheld for what it waited for in vain."""
    if verdict.reason is None:
        _release(page, edit, policy, verdict.fire_ms, rules, decisions, extra=verdict.signals)
        return
    page.dirty = True
    _set(edit, policy, WITHHELD)
    page.tricky = True
    _decide(
        page, edit, policy, rules, decisions, fire_ms=verdict.fire_ms, decided_for_ms=verdict.fire_ms,
        reason=verdict.reason, extra=verdict.signals,
    )  # fmt: skip


def _release(
    page: Page,
    edit: Edit,
    policy: int,
    fire_ms: int,
    rules: Rules,
    decisions: list[Decision],
    extra: tuple[Signal, ...] = (),
) -> None:
    """Release one edit, unless a newer one is out; older ones that still wait are superseded by it.

    What was heard before its tick and happened after it was due takes it back at once.
    """
    page.dirty = True
    latest = edit.plan.rules[policy].emit == "latest"
    newer = None
    if latest and len(page.edits) > 1:
        newer = next((other.rev_id for other in newer_out(page, edit, policy)), None)
    if newer is not None:
        _set(edit, policy, SUPERSEDED)
        _decide(page, edit, policy, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, by=newer)
        return
    _set(edit, policy, RELEASED)
    _decide(page, edit, policy, rules, decisions, fire_ms=fire_ms, decided_for_ms=fire_ms, extra=extra)
    if latest and len(page.open) > 1:
        for older in _older_that_wait(page, edit, policy):
            _set(older, policy, SUPERSEDED)
            own = fire_time(page, older, policy, rules)
            _decide(page, older, policy, rules, decisions, fire_ms=own, decided_for_ms=fire_ms, by=edit.rev_id)
    for signal in edit.signals:
        if edit.states[policy] == RELEASED and signal.at_ms >= fire_ms and signal.kind in REASONS:
            _take_back(page, edit, policy, signal, fire_ms, rules, decisions)


def _older_that_wait(page: Page, edit: Edit, policy: int) -> list[Edit]:
    """The edits before `edit` that still wait under a policy, oldest first."""
    found = []
    if page.open[-1] is edit:
        # Nothing waits behind one that is out: it took the place of all before it.
        for older in islice(reversed(page.open), 1, None):
            if older.states[policy] == RELEASED:
                break
            found.append(older)
        found.reverse()
    else:
        # A revision that was shown again, or announced late, lies behind newer ones.
        found = page.open
    return [older for older in found if older.rev_id < edit.rev_id and older.states[policy] == PENDING]


def _set(edit: Edit, policy: int, state: int) -> None:
    states = bytearray(edit.states)
    states[policy] = state
    edit.states = _shared(bytes(states))
    _pass_steps(edit)


_SHARED: dict[bytes, bytes] = {}


def _shared(states: bytes) -> bytes:
    """One object for equal states: a million edits have a few dozen of them."""
    return _SHARED.setdefault(states, states)


def _decide(
    page: Page,
    edit: Edit,
    policy: int,
    rules: Rules,
    decisions: list[Decision],
    *,
    fire_ms: int,
    decided_for_ms: int,
    signal: Signal | None = None,
    reason: object = None,
    by: int | None = None,
    extra: tuple[Signal, ...] = (),
) -> None:
    plan: Plan = edit.plan
    state = edit.states[policy]
    signals = edit.signals
    if signal is None and signals:
        # A release that goes before its signal was decided without it.
        signals = tuple(s for s in signals if s.at_ms < decided_for_ms)
    elif signal in signals:
        # What was heard after it had no part in it.
        signals = signals[: signals.index(signal) + 1]
    if extra:
        signals = (*(s for s in extra if s not in signals), *signals)
    if signal is not None and state == SUPERSEDED:
        by = signal.by_rev_id
    elif signal is not None:
        reason = REASONS[signal.kind]
    if signals:
        # What only a policy beside it listens to is none of its business; and a block takes nothing back.
        heeded = plan.heeded[policy] - ({SignalKind.BLOCK} if state == RETRACTED else set())
        signals = tuple(s for s in signals if s.kind in heeded)
    decisions.append(
        Decision(
            policy=rules.names[policy],
            wiki=page.wiki,
            page_id=page.page_id,
            rev_id=edit.rev_id,
            epoch=edit.epoch,
            state=_STATES[state],
            reason=reason,  # type: ignore[arg-type]
            event_id=edit.event_id,
            start_ms=edit.start_ms,
            hold_ms=plan.holds_ms[policy],
            fire_ms=fire_ms,
            decided_for_ms=decided_for_ms,
            signals=signals,
            superseded_by=by,
            rule=plan.numbers[policy],
            listened=plan.listened[policy],
            partial=edit.partial,
        )
    )


def _forget(page: Page, heard_ms: int, rules: Rules) -> None:
    gone_ms = heard_ms - rules.keep_ms
    if page.edits and (page.edits[0].start_ms <= gone_ms or len(page.edits) > MOST_EDITS):
        kept = [edit for edit in page.edits if edit.start_ms > gone_ms]
        excess = len(kept) - MOST_EDITS
        if excess > 0:
            waits = {id(edit) for edit in page.open}
            kept = [edit for at, edit in enumerate(kept) if at >= excess or id(edit) in waits]
        if len(kept) < len(page.edits):
            page.dirty = True
            page.edits = kept
            page.open = [edit for edit in page.open if edit.start_ms > gone_ms]
    if page.waiting:
        waiting = [w for w in page.waiting if w.signal.at_ms + WAIT_MS > heard_ms]
        page.dirty = page.dirty or len(waiting) < len(page.waiting)
        page.waiting = waiting


def _only_reverted_by_self(edit: Edit) -> bool:
    reverts = [s for s in edit.signals if s.kind in REVERTS]
    return bool(reverts) and all(signal.by_self for signal in reverts)


def pending(page: Page, rules: Rules) -> int:
    """How many (edit, policy) pairs wait for their deadline."""
    return sum(edit.states[: rules.count].count(PENDING) for edit in page.open)
