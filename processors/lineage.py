"""What an edit stands on: whether the text under it is clean, and which text is out. Pure.

An edit's *line* is walked back from it: to the revision whose text it restores, else to the one before it. It ends at
a released edit, or where our knowledge ends. If it passes a barred edit first, and nothing on the way undid that one,
the edit is *tainted*: it would let out what was withheld.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

from processors.lines import lines_of
from schemas.decision import Signal
from schemas.page import PENDING, RELEASED, RETRACTED, WITHHELD, Edit, Page
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

_revision = attrgetter("rev_id")
# (edit, policy) → whether it is held for its risk, its missing review, or a war that did not end.
Held = Callable[[Edit, int], bool]


def root(page: Page, edit: Edit, policy: int, fire_ms: int, held: Held) -> int | None:
    """The barred revision that `edit` stands on under a policy; None if its line is clean.

    fire_ms: only what happened before counts; it was released otherwise.
    """
    lines = lines_of(page)
    if lines.again:
        return _root_of_one_of_many(page, edit, policy, fire_ms, held)
    path, at = [edit], lines.under[lines.place[edit]]
    # Places on the path under which nothing is that could be a root: down to the next node, and down to the end.
    passed: list[int] = []
    clean: list[int] = []
    jumps = True
    while at >= 0:
        onwards = lines.skip(policy, at)
        if onwards < 0:
            break
        if onwards != at and jumps:
            node = page.edits[onwards]
            if _is_root(page, node, policy, fire_ms, held, _text_bars(node), path):
                lines.keep(policy, [path[steps] for steps in passed], onwards)
                return node.rev_id
            # What lies between may have undone what comes next.
            jumps = False
        node = page.edits[at]
        if _ends_clean(node, policy, fire_ms):
            clean = clean if node.states[policy] == RELEASED else []
            break
        bars = _text_bars(node)
        is_root = _is_root(page, node, policy, fire_ms, held, bars, path)
        if not is_root and _stays_clean(node, policy, bars):
            passed.append(len(path))
            clean.append(len(path))
        else:
            resolved = max((_resolved_at(page, node, bar, path) for bar in bars), default=-1)
            lines.keep(policy, [path[steps] for steps in passed if steps > resolved], at)
            if is_root:
                return node.rev_id
            passed, clean = [], [steps for steps in clean if steps <= resolved]
        path.append(node)
        at = lines.under[at]
    lines.keep(policy, [path[steps] for steps in clean], -1)
    return None


def _root_of_one_of_many(page: Page, edit: Edit, policy: int, fire_ms: int, held: Held) -> int | None:
    """As `root`, where a revision is on the page in several epochs."""
    path = [edit]
    for node in _line(page, edit):
        if _ends_clean(node, policy, fire_ms):
            return None
        if _is_root(page, node, policy, fire_ms, held, _text_bars(node), path):
            return node.rev_id
        path.append(node)
    return None


def _ends_clean(node: Edit, policy: int, fire_ms: int) -> bool:
    state = node.states[policy]
    return state == RELEASED or (state == RETRACTED and not _barred(node, fire_ms))


def _is_root(
    page: Page, node: Edit, policy: int, fire_ms: int, held: Held, bars: Sequence[Signal], path: Sequence[Edit]
) -> bool:
    state = node.states[policy]
    if state in (WITHHELD, RETRACTED) and any(s.at_ms < fire_ms for s in bars):
        return all(_resolved_at(page, node, s, path) < 0 for s in bars)
    return state in (WITHHELD, PENDING) and not bars and held(node, policy)


def _text_bars(node: Edit) -> Sequence[Signal]:
    signals = node.signals
    return [s for s in signals if s.kind in TEXT_BARS and not s.by_self] if signals else ()


def _stays_clean(node: Edit, policy: int, bars: Sequence[Signal]) -> bool:
    """Whether an edit that is no root now will be none, unless something more is heard about it (see `changed`)."""
    state = node.states[policy]
    rule = node.plan.rules[policy]
    if state == PENDING:
        return not bars and (rule.risk is None or (rule.clock == "edit" and rule.war is None))
    return state not in (WITHHELD, RETRACTED)


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
    if page.mixed:
        return next((edit for edit in reversed(page.edits) if edit.rev_id == rev_id), None)
    at = bisect_right(page.edits, rev_id, key=_revision) - 1
    return page.edits[at] if at >= 0 and page.edits[at].rev_id == rev_id else None


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
    found: list[Edit] = []
    edits = page.edits
    end = len(edits) - 1 if edits[-1] is edit else bisect_left(edits, edit.rev_id, key=_revision)
    for at in range(end - 1, -1, -1):
        other = edits[at]
        state = other.states[policy]
        if state == RELEASED and other.plan.latest[policy]:
            break  # it took the place of all before it
        if state == PENDING:
            found.append(other)
    found.reverse()
    return found


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
    return any(s.at_ms < before_ms and s.kind in REASONS and not s.by_self for s in edit.signals)


def _resolved_at(page: Page, barred: Edit, bar: Signal, path: Sequence[Edit]) -> int:
    """Where on the path what barred an edit is gone from the text; -1 if it is not. Its end, if that was itself undone.

    Of several places the nearest to the barred edit.
    """
    end = len(path) - 1
    if bar.kind in REVERTS:
        found = next((at for at in range(end, -1, -1) if path[at].rev_id == bar.by_rev_id), -1)
        if found >= 0:
            return found
        reverter = find(page, bar.by_rev_id or 0)
        return end if reverter is not None and any(s.kind in REVERTS for s in reverter.signals) else -1
    if bar.kind is SignalKind.HIDE:
        # Until it is shown again, or undeleted.
        latest = find(page, barred.rev_id)
        return end if latest is not None and latest.epoch > barred.epoch else -1
    if bar.kind is not SignalKind.REVERTED_TAG:
        return -1
    # The tag follows the reverting edit, which is therefore one of those made before it, and changed the text.
    changes = (at for at in range(end, -1, -1) if path[at].start_ms <= bar.at_ms and path[at].sha1 != barred.sha1)
    return next(changes, -1)
