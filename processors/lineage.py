"""What an edit stands on: whether the text under it is clean, and which text is out. Pure.

An edit's *line* is walked back from it: to the revision whose text it restores, else to the one before it. It ends at
a released edit, or where our knowledge ends. If it passes a barred edit first, nothing on the way undid that one and
what barred it was not all lifted, the edit is *tainted*: it would let out what was withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from schemas.decision import Signal
from schemas.page import BLOCKED, HELD, PENDING, RELEASED, RETRACTED, WITHHELD, Edit, Page
from schemas.reasons import Bar, SignalKind

# Among so many edits of a page those that are out are looked for: they lie there if edits come in about their order.
LAST_EDITS = 256
REVERTS = frozenset({SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT})
# What speaks against an edit's own text. A deletion speaks against the page, and ends its line.
TEXT_BARS = REVERTS | {SignalKind.REVERTED_TAG, SignalKind.HIDE, SignalKind.BLOCK}

REASONS = {
    SignalKind.IDENTITY_REVERT: Bar.REVERTED,
    SignalKind.DECLARED_REVERT: Bar.REVERTED,
    SignalKind.REVERTED_TAG: Bar.REVERTED,
    SignalKind.PAGE_DELETE: Bar.PAGE_DELETED,
    SignalKind.HIDE: Bar.SUPPRESSED,
    SignalKind.BLOCK: Bar.EDITOR_BLOCKED,
}

_TEXT_BARS_BUT_BLOCKS = TEXT_BARS - {SignalKind.BLOCK}
_TAKE_BACK = frozenset(REASONS) - {SignalKind.BLOCK}
_KEPT_BACK = frozenset((WITHHELD, HELD, BLOCKED, RETRACTED))

# (edit that waits, policy) → whether it is held for its risk.
Held = Callable[[Edit, int], bool]


def root(page: Page, edit: Edit, policy: int, fire_ms: int, last_ms: int, held: Held) -> Edit | None:
    """The barred edit that `edit` stands on under a policy; None if its line is clean.

    fire_ms: only what barred one before counts; it was released otherwise. last_ms: when it waits no longer, whatever
    clears its line then.
    """
    path = [edit]
    for node in _line(page, edit):
        state = node.states[policy]
        if state == RELEASED or (state == RETRACTED and not _barred(node, fire_ms)):
            return None
        if _is_root(page, node, policy, fire_ms, last_ms, held, path):
            return node
        path.append(node)
    return None


def _is_root(page: Page, node: Edit, policy: int, fire_ms: int, last_ms: int, held: Held, path: list[Edit]) -> bool:
    """Whether it is barred, with something left that is not lifted, and nothing on the way undid it."""
    state = node.states[policy]
    # A block bars only where it found the edit waiting.
    kinds = TEXT_BARS if state == BLOCKED else _TEXT_BARS_BUT_BLOCKS
    bars = [s for s in node.signals if s.kind in kinds and not s.by_self]
    barred = state in _KEPT_BACK and any(s.at_ms < fire_ms and not _lifted(page, node, s, last_ms) for s in bars)
    itself = state == HELD or (state == PENDING and held(node, policy))
    return (barred or itself) and not any(s.at_ms < last_ms and _removed(node, s, path) for s in bars)


def reviewed_head(page: Page, policy: int, edit: Edit) -> Edit | None:
    """The newest edit beside `edit` that is out under a policy, among the page's last edits."""
    last = islice(reversed(page.edits), LAST_EDITS)
    return next((e for e in last if e is not edit and e.states[policy] == RELEASED), None)


def newer_out(page: Page, edit: Edit, policy: int) -> Iterator[Edit]:
    """Of the last edits of a page those after `edit` that are out under a policy, newest first."""
    if page.edits[-1] is edit and (len(page.edits) < 2 or page.edits[-2].rev_id < edit.rev_id):
        return
    for other in islice(reversed(page.edits), LAST_EDITS):
        if other.rev_id > edit.rev_id and other.states[policy] == RELEASED:
            yield other


def find(page: Page, rev_id: int) -> Edit | None:
    """The newest epoch of a revision."""
    return next((edit for edit in reversed(page.edits) if edit.rev_id == rev_id), None)


def _line(page: Page, edit: Edit) -> Iterator[Edit]:
    seen = {edit.rev_id}
    at = len(page.edits) - 1
    while page.edits[at] is not edit:
        at -= 1
    node = edit
    while True:
        if node.restores and node.restores not in seen:
            back = next((i for i in range(at - 1, -1, -1) if page.edits[i].rev_id == node.restores), -1)
        else:
            back = next((i for i in range(at - 1, -1, -1) if page.edits[i].rev_id not in seen), -1)
        if back < 0:
            return
        at, node = back, page.edits[back]
        seen.add(node.rev_id)
        yield node


def _barred(edit: Edit, before_ms: int) -> bool:
    return any(s.at_ms < before_ms and s.kind in _TAKE_BACK and not s.by_self for s in edit.signals)


def _removed(barred: Edit, bar: Signal, path: list[Edit]) -> bool:
    """Whether an edit on the way undid what was barred, so that those after it do not have its text."""
    if bar.kind in REVERTS:
        return any(edit.rev_id == bar.by_rev_id for edit in path)
    # The tag follows the reverting edit, which is therefore one of those made before it, and changed the text.
    return bar.kind is SignalKind.REVERTED_TAG and any(
        edit.start_ms <= bar.at_ms and edit.sha1 != barred.sha1 for edit in path
    )


def _lifted(page: Page, barred: Edit, bar: Signal, last_ms: int) -> bool:
    """Whether what barred an edit was itself undone. The tag stays, so it goes by the reverts that it repeats."""
    if bar.kind in REVERTS:
        reverter = find(page, bar.by_rev_id or 0)
        return reverter is not None and any(s.kind in REVERTS and s.at_ms < last_ms for s in reverter.signals)
    if bar.kind is SignalKind.REVERTED_TAG:
        reverts = [s for s in barred.signals if s.kind in REVERTS and not s.by_self]
        return bool(reverts) and all(_lifted(page, barred, s, last_ms) for s in reverts)
    if bar.kind is SignalKind.HIDE:
        # Until it is shown again, or undeleted.
        return any(e.rev_id == barred.rev_id and e.epoch > barred.epoch and e.start_ms < last_ms for e in page.edits)
    return False
