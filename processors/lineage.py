"""What an edit stands on: whether the text under it is clean, and which text is out. Pure.

An edit's *line* is walked back from it: to the revision whose text it restores, else to the one before it. It ends at
a released edit, or where our knowledge ends. If it passes a barred edit first, nothing on the way undid that one and
what barred it was not all lifted, the edit is *tainted*: it would let out what was withheld.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from processors.lines import NEVER, REVERTS, Lines, lines_of
from schemas.decision import Signal
from schemas.page import BLOCKED, HELD, NONE, PENDING, RELEASED, RETRACTED, WITHHELD, Edit, Page
from schemas.reasons import Bar, SignalKind

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
# What an edit above may have undone. What is hidden, or of a blocked editor, is taken to be in the text still.
_REMOVABLE = REVERTS | {SignalKind.REVERTED_TAG}
_TAKE_BACK = frozenset(REASONS) - {SignalKind.BLOCK}
# Also what came before a policy, or while it was gone: it was never let out under it. If nothing bars such an edit, it
# bars nobody, nor does it end a line.
_KEPT_BACK = frozenset((WITHHELD, HELD, BLOCKED, RETRACTED, NONE))
_revision, _key = attrgetter("rev_id"), attrgetter("rev_id", "epoch")

# (edit that waits, policy) → whether it is held for its risk.
Held = Callable[[Edit, int], bool]


def root(page: Page, edit: Edit, policy: int, fire_ms: int, last_ms: int, held: Held) -> Edit | None:
    """The barred edit that `edit` stands on under a policy; None if its line is clean.

    fire_ms: only what barred one before counts; it was released otherwise. last_ms: when it waits no longer, whatever
    clears its line then.
    """
    lines = lines_of(page)
    if lines.again:
        return _root_of_one_of_many(page, edit, policy, fire_ms, last_ms, held)
    path, at = [edit], lines.under[lines.place[edit]]
    # Of the path but the first: from when on nobody who comes by is barred by it, and by which step of the path at the
    # latest they must come. What was looked at ahead of the walk.
    harmless, ahead = [(-1, 0)], -1
    while at >= 0:
        after_ms = lines.clean_after(policy, at)
        if after_ms < last_ms:
            _keep_clean(lines, policy, path, harmless, after_ms)
            return None
        below, after_ms = lines.root_under(policy, at)
        if after_ms < last_ms and below != ahead:
            ahead = below
            node = page.edits[below]
            if _ends_clean(node, policy, fire_ms):
                return None
            if _is_root(page, node, policy, fire_ms, last_ms, held, path):
                _keep_root(lines, policy, path, harmless, after_ms, node)
                return node
        node = page.edits[at]
        if node.states[policy] == RELEASED:
            break
        if _ends_clean(node, policy, fire_ms):
            return None
        if _is_root(page, node, policy, fire_ms, last_ms, held, path):
            _keep_root(lines, policy, path, harmless, -1, node)
            return node
        harmless.append(_harmless(page, node, policy, path))
        path.append(node)
        at = lines.under[at]
    _keep_clean(lines, policy, path, harmless, -1)
    return None


def _keep_clean(
    lines: Lines, policy: int, path: Sequence[Edit], harmless: Sequence[tuple[int, int]], after_ms: int
) -> None:
    """Behind the path all is clean for those who wait longer than until `after_ms`."""
    latest = len(path)
    for step in range(len(path) - 1, 0, -1):
        after_ms, latest = max(after_ms, harmless[step][0]), min(latest, harmless[step][1])
        if after_ms == NEVER:
            return
        if step <= latest:
            lines.keep_clean(policy, path[step], after_ms)


def _keep_root(
    lines: Lines,
    policy: int,
    path: Sequence[Edit],
    harmless: Sequence[tuple[int, int]],
    after_ms: int,
    barred: Edit,
) -> None:
    """Behind the path is a root, and nothing before it for those who wait longer than until `after_ms`."""
    bars = [s for s in barred.signals if s.kind in TEXT_BARS and not s.by_self]
    latest = len(path)
    for step in range(len(path) - 1, 0, -1):
        node = path[step]
        after_ms, latest = max(after_ms, harmless[step][0]), min(latest, harmless[step][1])
        # One that was taken back ends the line of some; and what undid the root's bars is to be seen on the way.
        ends = node.states[policy] == RETRACTED
        if after_ms == NEVER or ends or any(_removed(barred, s, path[step : step + 1]) for s in bars):
            return
        if step <= latest:
            lines.keep_root(policy, node, barred, after_ms)


def _root_of_one_of_many(
    page: Page, edit: Edit, policy: int, fire_ms: int, last_ms: int, held: Held
) -> Edit | None:  # fmt: skip
    """As `root`, where a revision is on the page in several epochs."""
    path = [edit]
    for node in _line(page, edit):
        if _ends_clean(node, policy, fire_ms):
            return None
        if _is_root(page, node, policy, fire_ms, last_ms, held, path):
            return node
        path.append(node)
    return None


def _ends_clean(node: Edit, policy: int, fire_ms: int) -> bool:
    state = node.states[policy]
    return state == RELEASED or (state == RETRACTED and not _barred(node, fire_ms))


def _is_root(page: Page, node: Edit, policy: int, fire_ms: int, last_ms: int, held: Held, path: Sequence[Edit]) -> bool:
    """Whether it is barred, with something left that is not lifted, and nothing on the way undid it."""
    state = node.states[policy]
    bars = _bars(node, state)
    barred = state in _KEPT_BACK and any(s.at_ms < fire_ms and _lifted_ms(page, node, s) >= last_ms for s in bars)
    itself = state == HELD or (state == PENDING and held(node, policy))
    return (barred or itself) and not any(s.at_ms < last_ms and _removed(node, s, path) for s in bars)


def _bars(node: Edit, state: int) -> Sequence[Signal]:
    if not node.signals:
        return ()
    # A block bars only where it found the edit waiting.
    kinds = TEXT_BARS if state == BLOCKED else _TEXT_BARS_BUT_BLOCKS
    return [s for s in node.signals if s.kind in kinds and not s.by_self]


def _bars_nobody(node: Edit, policy: int) -> bool:
    """Whether an edit that is no root for one is none for anybody, unless something more is heard about it."""
    state = node.states[policy]
    if state == PENDING:
        rule = node.plan.rules[policy]
        # Later edits may put the moment off at which it is held, or not.
        undone = any(s.kind in _REMOVABLE for s in _bars(node, state))
        return rule.risk is None or (rule.clock == "edit" and rule.war is None and not undone)
    return state not in _KEPT_BACK or (state in (WITHHELD, BLOCKED, NONE) and not _bars(node, state))


def _harmless(page: Page, node: Edit, policy: int, path: Sequence[Edit]) -> tuple[int, int]:
    """For whom an edit behind the path is no root in any case: for those who wait longer than until then, and come by
    this step of the path at the latest.
    """
    if _bars_nobody(node, policy):
        return -1, len(path)
    state = node.states[policy]
    bars, itself = _bars(node, state), state in (HELD, PENDING)
    if not itself:
        lifted_ms = max((_lifted_ms(page, node, s) for s in bars), default=-1)
        if lifted_ms < NEVER:
            return lifted_ms, len(path)
    for s in sorted((s for s in bars if s.kind in _REMOVABLE), key=lambda s: s.at_ms):
        for step in range(len(path) - 1, 0, -1):
            if _removed(node, s, path[step : step + 1]):
                return s.at_ms, step
    return NEVER, 0


def newest_out(page: Page, policy: int) -> Edit | None:
    """The newest revision that is out under a policy, to be read only."""
    if not page.newest[policy]:
        return None
    edit = page.last_still(page.newest[policy]) or find(page, page.newest[policy])
    if edit is None or edit.states[policy] != RELEASED:
        edit = last_out(page, policy)
        page.newest[policy] = 0 if edit is None else edit.rev_id
    return edit


def last_out(page: Page, policy: int) -> Edit | None:
    """The same by a look at the page's edits, whatever `Page.newest` says."""
    out = (e for e in reversed(page.edits) if e.states[policy] == RELEASED)
    return max(out, key=_key, default=None) if page.mixed else next(out, None)


def find(page: Page, rev_id: int) -> Edit | None:
    """The newest epoch of a revision."""
    if page.mixed:
        return next((edit for edit in reversed(page.edits) if edit.rev_id == rev_id), None)
    edits = page.recent if page.still is None or rev_id > page.still.last_rev else page.edits
    at = bisect_right(edits, rev_id, key=_revision) - 1
    return edits[at] if at >= 0 and edits[at].rev_id == rev_id else None


def between(page: Page, oldest: int, newest: int) -> list[Edit]:
    """The edits of a span of revisions, both ends included."""
    if page.mixed:
        return [edit for edit in page.edits if oldest <= edit.rev_id <= newest]
    first = bisect_left(page.edits, oldest, key=_revision)
    return page.edits[first : bisect_right(page.edits, newest, lo=first, key=_revision)]


def older(page: Page, edit: Edit, policy: int) -> list[Edit]:
    """The edits before `edit` that still wait under a policy, as they came."""
    if page.mixed:
        return [other for other in page.open if other.states[policy] == PENDING and other.rev_id < edit.rev_id]
    edits, swept = page.recent, page.swept[policy]
    at = len(edits) - 2 if edits[-1] is edit else bisect_left(edits, edit.rev_id, key=_revision) - 1
    found: list[Edit] = []
    while at >= 0 and (other := edits[at]).rev_id > swept:
        if other.states[policy] == PENDING:
            found.append(other)
        at -= 1
    found.reverse()
    return found


def _line(page: Page, edit: Edit) -> Iterator[Edit]:
    seen = {edit.rev_id}
    node, at = edit, lines_of(page).place[edit]
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


def _removed(barred: Edit, bar: Signal, path: Sequence[Edit]) -> bool:
    """Whether an edit on the way undid what was barred, so that those after it do not have its text."""
    if bar.kind in REVERTS:
        return any(edit.rev_id == bar.by_rev_id for edit in path)
    # The tag follows the reverting edit, which is therefore one of those made before it, and changed the text.
    return bar.kind is SignalKind.REVERTED_TAG and any(
        edit.start_ms <= bar.at_ms and edit.sha1 != barred.sha1 for edit in path
    )


def _lifted_ms(page: Page, barred: Edit, bar: Signal) -> int:
    """When what barred an edit was itself undone; `NEVER` if it was not. What is heard later only brings it forward.

    The tag stays, so it goes by the reverts that it repeats.
    """
    if bar.kind in REVERTS:
        reverter = find(page, bar.by_rev_id or 0)
        said = () if reverter is None else reverter.signals
        return min((s.at_ms for s in said if s.kind in REVERTS), default=NEVER)
    if bar.kind is SignalKind.REVERTED_TAG:
        reverts = [s for s in barred.signals if s.kind in REVERTS and not s.by_self]
        return max((_lifted_ms(page, barred, s) for s in reverts), default=NEVER)
    if bar.kind is SignalKind.HIDE and page.mixed:
        # Until it is shown again, or undeleted.
        again = (e for e in lines_of(page).epochs.get(barred.rev_id, ()) if e.epoch > barred.epoch)
        return min((e.start_ms for e in again), default=NEVER)
    return NEVER
