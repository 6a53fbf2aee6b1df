"""The gate: what one event, or time itself, does to one page under every policy. Pure.

    PENDING  --fire time heard, no bar-------------------> RELEASED
    PENDING  --revert by another | delete | hide---------> WITHHELD(reason)
    PENDING  --self-revert | a newer edit is released----> SUPERSEDED(by)
    RELEASED --revert by another | delete | hide---------> RETRACTED(reason)

Fire time f = start of the hold + hold + grace. A signal about a waiting edit whose event time is before f bars it; at
or after f the release goes first and the retraction follows, however late the tick comes that would have released it.
A hold of 0 releases what it observes: no tick, no grace. Nothing is ever un-withheld: text that comes back comes back
as another revision, or (undeletion) as another epoch of the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from processors.digest import user_key
from schemas.decision import Decision, Signal
from schemas.event import (
    EDIT_KINDS,
    PAGE_CHANGE,
    TAGS_CHANGE,
    VISIBILITY_CHANGE,
    Event,
    PageChange,
    TagsChange,
    VisibilityChange,
)
from schemas.log import Policies, Policy
from schemas.page import Edit, Page, Seen, Waiting
from schemas.reasons import Bar, SignalKind, State

# Radius of an identity revert: at most 15 revisions lie between the restored one and the restoring one.
RING = 16
# An edit's own time counts unless the public saw it much later (imports, clock skew).
SKEW_MS = 600_000
# Tags and hidings often come before the page_change of their revision.
WAIT_MS = 600_000
# Every hold > 0 needs these to be heard before it may release.
REQUIRED_STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE)

REASONS = {
    SignalKind.IDENTITY_REVERT: Bar.REVERTED,
    SignalKind.DECLARED_REVERT: Bar.REVERTED,
    SignalKind.REVERTED_TAG: Bar.REVERTED,
    SignalKind.PAGE_DELETE: Bar.PAGE_DELETED,
    SignalKind.HIDE: Bar.SUPPRESSED,
}


def fire_ms(edit: Edit, policy: Policy, policies: Policies) -> int:
    """The event time up to which everything must be heard before `edit` may be released under `policy`."""
    return edit.start_ms + policy.hold_ms + (policies.grace_ms if policy.hold_ms else 0)


def heard_until(heard_ms: Mapping[str, int]) -> int:
    """The watermark of every hold > 0; -1 while a required stream was never heard."""
    return min(heard_ms.get(stream, -1) for stream in REQUIRED_STREAMS)


def observe(page: Page, event: Event, policies: Policies) -> tuple[Page, list[Decision]]:
    """What `event` does to its page. A repeat changes nothing."""
    if isinstance(event, PageChange):
        if event.kind in EDIT_KINDS:
            return _observe_edit(page, event, policies)
        if event.kind == "delete":
            return _observe_delete(page, event, policies)
        if not event.all_visible:
            hide = Signal(kind=SignalKind.HIDE, event_id=event.meta.event_id, at_ms=event.meta.at_ms)
            return _signal(page, event.rev_id, hide, policies)
        return page, []
    if isinstance(event, TagsChange) and "mw-reverted" in event.added:
        tag = Signal(kind=SignalKind.REVERTED_TAG, event_id=event.meta.event_id, at_ms=event.meta.at_ms)
        return _signal(page, event.rev_id, tag, policies)
    if isinstance(event, VisibilityChange) and _hides(event):
        hide = Signal(kind=SignalKind.HIDE, event_id=event.meta.event_id, at_ms=event.meta.at_ms)
        return _signal(page, event.rev_id, hide, policies)
    return page, []


def advance(page: Page, heard: int, policies: Policies) -> tuple[Page, list[Decision]]:
    """Release what is due at watermark `heard` (ms), oldest fire time first; forget what is past every limit."""
    due = sorted(
        (edit.start_ms + delay_ms, edit.rev_id, edit.epoch, order)
        for edit in page.edits
        for order, (name, delay_ms) in enumerate(policies.delays_ms)
        if edit.start_ms + delay_ms <= heard and edit.states.get(name) is State.PENDING
    )
    decisions: list[Decision] = []
    for _, rev_id, epoch, order in due:
        page, made = _release(page, rev_id, epoch, policies.policies[order], policies)
        decisions += made
    return _forget(page, heard, policies), decisions


def next_due_ms(page: Page, policies: Policies) -> int | None:
    """The earliest watermark at which `advance` would change this page; None = never."""
    times = [
        edit.start_ms + delay_ms
        for edit in page.edits
        for name, delay_ms in policies.delays_ms
        if edit.states.get(name) is State.PENDING
    ]
    times += [edit.start_ms + policies.longest_ms for edit in page.edits]
    times += [waiting.signal.at_ms + WAIT_MS for waiting in page.waiting]
    return min(times, default=None)


def change_policies(page: Page, policies: Policies) -> Page:
    """Put other policies in force: what is pending under any policy waits under the new ones, what is out stays out."""
    names = [policy.name for policy in policies.policies]
    edits = []
    for edit in page.edits:
        waits = State.PENDING in edit.states.values()
        kept = {name: edit.states[name] for name in names if name in edit.states}
        if waits:
            kept |= {name: State.PENDING for name in names if name not in kept}
        edits.append(replace(edit, states=kept))
    return replace(page, edits=tuple(edits))


def _observe_edit(page: Page, event: PageChange, policies: Policies) -> tuple[Page, list[Decision]]:
    known = [edit for edit in page.edits if edit.rev_id == event.rev_id]
    undelete = event.kind == "undelete"
    if any(edit.event_id == event.meta.event_id for edit in known) or (known and not undelete):
        return page, []
    if not page.ring and event.prior_rev_id is not None:
        seed = Seen(rev_id=event.prior_rev_id, sha1=event.prior_rev_sha1)
        page = replace(page, ring=(seed,))
    page, decisions = _apply_reverts(page, event, policies)
    edit = Edit(
        rev_id=event.rev_id,
        epoch=max((old.epoch + 1 for old in known), default=1 if undelete else 0),
        event_id=event.meta.event_id,
        start_ms=_start_ms(event),
        user=_user(event),
        states={policy.name: State.PENDING for policy in policies.policies},
    )
    page = replace(page, edits=(*page.edits, edit), ring=_ring(page.ring, event))
    if not event.all_visible:
        hide = Signal(kind=SignalKind.HIDE, event_id=event.meta.event_id, at_ms=event.meta.at_ms)
        page, made = _signal(page, event.rev_id, hide, policies)
        decisions += made
    for waiting in [w for w in page.waiting if w.rev_id == event.rev_id]:
        page, made = _signal(page, waiting.rev_id, waiting.signal, policies)
        decisions += made
    page = replace(page, waiting=tuple(w for w in page.waiting if w.rev_id != event.rev_id))
    for policy in policies.policies:
        if policy.hold_ms == 0 and _find(page, edit.rev_id, edit.epoch).states[policy.name] is State.PENDING:
            page, made = _release(page, edit.rev_id, edit.epoch, policy, policies)
            decisions += made
    return page, decisions


def _apply_reverts(page: Page, event: PageChange, policies: Policies) -> tuple[Page, list[Decision]]:
    """Bar what this edit undid: by what it declares, else by the SHA-1 it restores."""
    if event.kind == "undelete":
        return page, []
    decisions: list[Decision] = []
    undone = dict.fromkeys(_identity_reverted(page.ring, event), SignalKind.IDENTITY_REVERT)
    if event.revert is not None:
        span = range(event.revert.oldest_rev_id, event.revert.newest_rev_id + 1)
        undone |= {edit.rev_id: SignalKind.DECLARED_REVERT for edit in page.edits if edit.rev_id in span}
    user = _user(event)
    for rev_id, kind in sorted(undone.items()):
        edits = [edit for edit in page.edits if edit.rev_id == rev_id]
        if not edits:
            continue
        by_self = user is not None and edits[-1].user == user
        signal = Signal(
            kind=kind, event_id=event.meta.event_id, at_ms=event.rev_ms, by_rev_id=event.rev_id, by_self=by_self
        )
        page, made = _signal(page, rev_id, signal, policies)
        decisions += made
    return page, decisions


def _identity_reverted(ring: tuple[Seen, ...], event: PageChange) -> list[int]:
    """The revisions between this one and the latest earlier one with the same SHA-1: all have another."""
    if event.rev_sha1 is None:
        return []
    earlier = [seen for seen in ring if seen.rev_id != event.rev_id]
    for at in range(len(earlier) - 1, -1, -1):
        if earlier[at].sha1 == event.rev_sha1:
            return [seen.rev_id for seen in earlier[at + 1 :]]
    return []


def _observe_delete(page: Page, event: PageChange, policies: Policies) -> tuple[Page, list[Decision]]:
    suppressed = event.performer is None and not (
        event.content_visible or event.editor_visible or event.comment_visible
    )
    signal = Signal(
        kind=SignalKind.HIDE if suppressed else SignalKind.PAGE_DELETE,
        event_id=event.meta.event_id,
        at_ms=event.meta.at_ms,
    )
    decisions: list[Decision] = []
    for rev_id in dict.fromkeys(edit.rev_id for edit in page.edits):
        page, made = _signal(page, rev_id, signal, policies)
        decisions += made
    return page, decisions


def _hides(event: VisibilityChange) -> bool:
    now, before = event.visibility, event.prior
    return (before.text and not now.text) or (before.user and not now.user) or (before.comment and not now.comment)


def _signal(page: Page, rev_id: int, signal: Signal, policies: Policies) -> tuple[Page, list[Decision]]:
    """Add a bar to the newest epoch of a revision, or keep it for a revision that is not announced yet."""
    edits = [edit for edit in page.edits if edit.rev_id == rev_id]
    if not edits:
        waiting = Waiting(rev_id=rev_id, signal=signal)
        return (page if waiting in page.waiting else replace(page, waiting=(*page.waiting, waiting))), []
    edit = edits[-1]
    # A hiding that two streams report, or that ended before this epoch began, says nothing new.
    repeat = any(s.event_id == signal.event_id and s.kind is signal.kind for s in edit.signals)
    if repeat or (edit.epoch and signal.at_ms < edit.start_ms):
        return page, []
    if signal.kind is SignalKind.REVERTED_TAG and _only_reverted_by_self(edit):
        signal = replace(signal, by_self=True)
    edit = replace(edit, signals=(*edit.signals, signal))
    decisions: list[Decision] = []
    for policy in policies.policies:
        edit, made = _bar(page, edit, signal, policy, policies)
        decisions += made
    return _put(page, edit), decisions


def _bar(page: Page, edit: Edit, signal: Signal, policy: Policy, policies: Policies) -> tuple[Edit, list[Decision]]:
    state = edit.states.get(policy.name)
    decisions: list[Decision] = []
    if state is State.PENDING:
        fire = fire_ms(edit, policy, policies)
        if signal.at_ms < fire or policy.hold_ms == 0:
            state = State.SUPERSEDED if signal.by_self else State.WITHHELD
            edit = _with_state(edit, policy, state)
            return edit, [_decision(page, edit, policy, policies, signal.at_ms, signal)]
        # What was due before the signal happened goes out first, though its tick has not come.
        edit = _with_state(edit, policy, state := State.RELEASED)
        decisions.append(_decision(page, edit, policy, policies, fire, None))
    within = signal.at_ms - fire_ms(edit, policy, policies) <= policies.horizon_ms
    if state is State.RELEASED and within and not signal.by_self:
        edit = _with_state(edit, policy, State.RETRACTED)
        decisions.append(_decision(page, edit, policy, policies, signal.at_ms, signal))
    return edit, decisions


def _release(page: Page, rev_id: int, epoch: int, policy: Policy, policies: Policies) -> tuple[Page, list[Decision]]:
    """Release one edit; older ones that still wait under the policy are superseded by it."""
    edit = _find(page, rev_id, epoch)
    if edit.states[policy.name] is not State.PENDING:
        return page, []
    released = _with_state(edit, policy, State.RELEASED)
    fire = fire_ms(edit, policy, policies)
    decisions = [_decision(page, released, policy, policies, fire, None)]
    page = _put(page, released)
    for older in page.edits:
        if older.rev_id < rev_id and older.states.get(policy.name) is State.PENDING:
            passed = _with_state(older, policy, State.SUPERSEDED)
            page = _put(page, passed)
            decisions.append(_decision(page, passed, policy, policies, fire, None, superseded_by=rev_id))
    return page, decisions


def _decision(
    page: Page,
    edit: Edit,
    policy: Policy,
    policies: Policies,
    decided_for_ms: int,
    signal: Signal | None,
    superseded_by: int | None = None,
) -> Decision:
    state = edit.states[policy.name]
    barred = signal is not None and state in {State.WITHHELD, State.RETRACTED}
    if state is State.SUPERSEDED and signal is not None:
        superseded_by = signal.by_rev_id
    return Decision(
        policy=policy.name,
        wiki=page.wiki,
        page_id=page.page_id,
        rev_id=edit.rev_id,
        epoch=edit.epoch,
        state=state,
        reason=REASONS[signal.kind] if barred and signal is not None else None,
        event_id=edit.event_id,
        start_ms=edit.start_ms,
        hold_ms=policy.hold_ms,
        fire_ms=fire_ms(edit, policy, policies),
        decided_for_ms=decided_for_ms,
        # A release that goes before its signal was decided without it.
        signals=edit.signals if signal is not None else tuple(s for s in edit.signals if s.at_ms < decided_for_ms),
        superseded_by=superseded_by,
    )


def _forget(page: Page, heard: int, policies: Policies) -> Page:
    edits = tuple(edit for edit in page.edits if edit.start_ms + policies.longest_ms > heard)
    waiting = tuple(w for w in page.waiting if w.signal.at_ms + WAIT_MS > heard)
    return (
        page
        if len(edits) == len(page.edits) and len(waiting) == len(page.waiting)
        else replace(page, edits=edits, waiting=waiting)
    )


def _start_ms(event: PageChange) -> int:
    """The moment from which the public could see it."""
    if event.kind == "undelete":
        return event.meta.at_ms
    return event.rev_ms if abs(event.meta.at_ms - event.rev_ms) <= SKEW_MS else event.meta.at_ms


def _user(event: PageChange) -> str | None:
    return None if event.editor is None else event.editor.key or user_key(event.wiki, event.editor.user_text)


def _ring(ring: tuple[Seen, ...], event: PageChange) -> tuple[Seen, ...]:
    if any(seen.rev_id == event.rev_id for seen in ring):
        return ring
    return (*ring, Seen(rev_id=event.rev_id, sha1=event.rev_sha1))[-RING:]


def _only_reverted_by_self(edit: Edit) -> bool:
    reverts = [s for s in edit.signals if s.kind in {SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT}]
    return bool(reverts) and all(signal.by_self for signal in reverts)


def _with_state(edit: Edit, policy: Policy, state: State) -> Edit:
    return replace(edit, states={**edit.states, policy.name: state})


def _find(page: Page, rev_id: int, epoch: int) -> Edit:
    return next(edit for edit in page.edits if edit.rev_id == rev_id and edit.epoch == epoch)


def _put(page: Page, changed: Edit) -> Page:
    def same(edit: Edit) -> bool:
        return edit.rev_id == changed.rev_id and edit.epoch == changed.epoch

    return replace(page, edits=tuple(changed if same(edit) else edit for edit in page.edits))


def pending(pages: Iterable[Page]) -> int:
    """How many (edit, policy) pairs wait for their deadline."""
    return sum(state is State.PENDING for page in pages for edit in page.edits for state in edit.states.values())
