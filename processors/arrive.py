"""What a new revision does to its page: it joins the others, undoes some of them, and begins to wait. Pure."""

from __future__ import annotations

from processors.hear import Edited
from processors.lineage import between, find, newest_out
from processors.neighbours import note_neighbours
from processors.plans import Rules
from processors.release import release
from processors.ring import is_merged, merged, remember
from processors.strata import chosen
from processors.tell import tell
from processors.untold import note_revert
from processors.waits import begin, flags_of, fresh, join
from schemas.decision import Decision, Signal
from schemas.page import PENDING, Context, Edit, Page
from schemas.reasons import SignalKind

TAKEN_AWAY = frozenset({SignalKind.PAGE_DELETE, SignalKind.HIDE})


def arrive(page: Page, event: Edited, rules: Rules, decisions: list[Decision]) -> None:
    """Take in a revision that the page does not know, or one that is there again after it was deleted."""
    known = _known(page, event)
    if known is not None and (
        not event.undelete or any(e.event_id == event.event_id for e in page.edits if e.rev_id == event.rev_id)
    ):
        return
    if known is not None and not any(s.kind in TAKEN_AWAY for s in known.signals):
        # It was before readers all the time: other revisions came back to its page, or came from another one.
        merged(page, event.event_id)
        return
    page.dirty = True
    page.title = event.title
    partial = _seed(page, event)
    restores, undone = _identity(page.ring, event)
    if (undone or event.undone is not None) and not event.undelete:
        _apply_reverts(page, event, undone, rules, decisions)
    edit = _new_edit(page, event, known, restores, rules)
    edit.partial = partial
    join(page, edit, rules)
    if event.rev_id not in page.ring:
        remember(page.ring, event.rev_id, event.sha1)
    if rules.neighbours and not edit.epoch:
        note_neighbours(page, edit, rules, decisions)
    if event.hidden:
        hide = Signal(kind=SignalKind.HIDE, event_id=event.event_id, at_ms=event.at_ms)
        tell(page, edit, hide, rules, decisions)
    if page.waiting:
        for waiting in [w for w in page.waiting if w.rev_id == event.rev_id]:
            page.waiting.remove(waiting)
            tell(page, find(page, event.rev_id), waiting.signal, rules, decisions)
    if rules.blocks and event.sha1 is not None and not event.undelete:
        _release_what_is_out_already(page, edit, rules, decisions)
    begin(page, edit, rules, decisions)


def _known(page: Page, event: Edited) -> Edit | None:
    """The newest epoch of the revision, if the page has it."""
    if event.rev_id > page.last_rev and (not page.ring or event.rev_id > next(reversed(page.ring))):
        return None
    return find(page, event.rev_id)


def _seed(page: Page, event: Edited) -> bool:
    """Put the revision before this one into the ring if it is not there. True if nothing tells what it was, or if the
    history was merged.
    """
    ring, prior = page.ring, event.prior
    if prior is not None:
        if prior[0] not in ring and (not ring or prior[0] > next(reversed(ring))):
            remember(ring, *prior)
        return is_merged(ring)
    return is_merged(ring) or (bool(event.parent_id) and event.parent_id not in ring)


def _identity(ring: dict[int, str | None], event: Edited) -> tuple[int, list[int]]:
    """The latest earlier revision with this one's text (0 = none), and those between, which have another."""
    if event.sha1 is None or event.sha1 not in ring.values():
        return 0, []
    between: list[int] = []
    for rev_id, sha1 in reversed(ring.items()):
        if rev_id == event.rev_id:
            continue
        if sha1 == event.sha1:
            return rev_id, between
        between.append(rev_id)
    return 0, []


def _apply_reverts(page: Page, event: Edited, same: list[int], rules: Rules, decisions: list[Decision]) -> None:
    """Bar what this edit undid: by what it declares, else by the text it restores."""
    undone = dict.fromkeys(same, SignalKind.IDENTITY_REVERT)
    if event.undone is not None:
        oldest, newest = event.undone
        undone |= {e.rev_id: SignalKind.DECLARED_REVERT for e in between(page, oldest, newest)}
    by_another = False
    for rev_id, kind in sorted(undone.items()):
        edit = find(page, rev_id)
        if edit is None or rev_id == event.rev_id:
            continue
        by_self = event.user is not None and edit.user == event.user
        # An epoch that began after it does not hear of it.
        by_another = by_another or not (by_self or (edit.epoch and event.rev_ms < edit.start_ms))
        signal = Signal(kind=kind, event_id=event.event_id, at_ms=event.rev_ms, by_rev_id=event.rev_id, by_self=by_self)
        tell(page, edit, signal, rules, decisions)
    if by_another and rules.war_ms and event.user is not None:
        note_revert(page, event.start_ms, event.user, rules)


def _new_edit(page: Page, event: Edited, known: Edit | None, restores: int, rules: Rules) -> Edit:
    flags = flags_of(page, event.start_ms, event.user, rules)
    context: Context = (event.namespace, event.kinds, event.editor_class, flags, page.topics)
    protects = chosen(page, event.editor_class, event.start_ms, rules) if rules.targets else ()
    plan = rules.plan(page.wiki, context, protects)
    return Edit(
        event.rev_id,
        int(event.undelete) if known is None else known.epoch + 1,
        event.event_id,
        event.start_ms,
        event.sha1,
        event.user,
        plan.context,
        fresh(page, rules),
        (),
        0 if event.undelete else restores,
        (),
        False,
        0,
        plan,
        protects,
    )


def _release_what_is_out_already(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """An edit whose text is that of the newest one that is out changes nothing for a reader: it goes out at once."""
    if edit.epoch or "create" in edit.context[1]:
        return
    for lane, rule in enumerate(edit.plan.rules):
        if rule.restore and edit.states[lane] == PENDING and edit.plan.holds_ms[lane]:
            head = newest_out(page, lane)
            if head is not None and head.sha1 == edit.sha1:
                same = Signal(
                    kind=SignalKind.RESTORES, event_id=head.event_id, at_ms=edit.start_ms, by_rev_id=head.rev_id
                )
                release(page, edit, lane, edit.start_ms, rules, decisions, extra=(same,))
