"""When to look at a page again, and what may fire there by then. Pure.

Edits that fire a fixed time after they were made stand in a queue. On a page where that does not hold of each they are
asked for their outcome, which costs more, so each remembers a watermark before which the answer will not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from processors.fire import outcome, usual_fire_ms
from processors.lineage import REASONS
from processors.plans import Rules
from schemas.page import BLOCKED, HELD, PENDING, RETRACTED, WITHHELD, Due, Edit, Page

# Signals often come before the page_change of their revision.
WAIT_MS = 600_000
_KEPT_BACK = bytes((WITHHELD, HELD, BLOCKED, RETRACTED))


def attach(wiki: str, edit: Edit, rules: Rules) -> None:
    """Give an edit the plan of its kind."""
    edit.plan = rules.plan(wiki, edit.context, edit.protects)
    edit.context = edit.plan.context  # the one that all edits of this kind share


def line_up(page: Page, rules: Rules) -> None:
    """After plans have changed: see anew in which way the edits of a page wait, and for what."""
    page.tricky = any(edit.plan.special or edit.floors or edit.start_ms < rules.gap_end_ms for edit in page.open) or (
        rules.blocks and any(_bars_others(edit) for edit in page.edits)
    )
    page.mixed = any(newer.rev_id < older.rev_id for older, newer in pairwise(page.open))
    queue_up(page)


def _bars_others(edit: Edit) -> bool:
    """Whether others may stand on something barred: it is kept back, or will be once it was out for a moment."""
    return any(digit in edit.states for digit in _KEPT_BACK) or any(s.kind in REASONS for s in edit.signals)


def queue_up(page: Page) -> None:
    """Make the queue anew from the edits that wait."""
    page.queue = []
    for edit in page.open:
        enqueue(page, edit)


def enqueue(page: Page, edit: Edit) -> None:
    """Where edits fire one by one, they stand in a queue with one place for each moment of each."""
    if not page.tricky:
        for delay_ms, lanes in edit.plan.ahead(edit.states):
            heappush(page.queue, (edit.start_ms + delay_ms, edit.rev_id, edit.epoch, lanes, edit))


def due_by(page: Page, heard_ms: Sequence[int], rules: Rules) -> Iterator[Due]:
    """What the edits of a page may do by now, in the order in which they do it; from a queue it is taken."""
    if page.tricky:
        found: list[Due] = []
        for edit in page.open:
            _ask(page, edit, heard_ms, rules, found)
        found.sort(key=lambda entry: entry[:4])
        yield from found
    else:
        while page.queue and page.queue[0][0] <= heard_ms[0]:
            yield heappop(page.queue)


def _ask(page: Page, edit: Edit, heard_ms: Sequence[int], rules: Rules, found: list[Due]) -> None:
    if edit.look_ms > max(heard_ms):
        return
    watermarks = edit.plan.watermarks
    for lane in range(rules.count):
        until_ms = heard_ms[watermarks[lane]]
        if edit.states[lane] == PENDING and usual_fire_ms(edit, lane) <= until_ms:
            fire_ms = outcome(page, edit, lane, rules, until_ms).fire_ms
            if fire_ms <= until_ms:
                found.append((fire_ms, edit.rev_id, edit.epoch, (lane,), edit))


def next_due(page: Page, rules: Rules, heard_ms: int = -1) -> int | None:
    """A watermark before which `advance` will not change this page; None = never.

    heard_ms: how far `advance` has come; what should have fired by then is looked at more closely.
    """
    soonest_ms = page.edits[0].start_ms + rules.keep_ms if page.edits else None
    for waiting in page.waiting:
        until_ms = waiting.signal.at_ms + WAIT_MS
        if soonest_ms is None or until_ms < soonest_ms:
            soonest_ms = until_ms
    if not page.tricky:
        queue = page.queue
        while queue and all(queue[0][4].states[lane] != PENDING for lane in queue[0][3]):
            heappop(queue)
        return min(soonest_ms, queue[0][0]) if queue and soonest_ms is not None else soonest_ms
    for edit in page.open:
        due_ms = edit_due(page, edit, rules, heard_ms)
        if due_ms is not None and (soonest_ms is None or due_ms < soonest_ms):
            soonest_ms = due_ms
    return soonest_ms


def edit_due(page: Page, edit: Edit, rules: Rules, heard_ms: int = -1) -> int | None:
    """As `next_due`, of one edit."""
    if not page.tricky:
        ahead = edit.plan.ahead(edit.states)
        return edit.start_ms + ahead[0][0] if ahead else None
    if edit.look_ms > heard_ms >= 0:
        return edit.look_ms
    found: int | None = None
    for lane in range(rules.count):
        if edit.states[lane] == PENDING:
            at_ms = usual_fire_ms(edit, lane)
            if at_ms <= heard_ms:
                at_ms = outcome(page, edit, lane, rules, heard_ms).fire_ms
            if found is None or at_ms < found:
                found = at_ms
    edit.look_ms = (found or 0) if heard_ms >= 0 else 0
    return found


def sooner(page: Page, due_ms: int | None) -> None:
    """Look at a page at `due_ms` at the latest."""
    if due_ms is not None and (page.due_ms is None or due_ms < page.due_ms):
        page.due_ms = due_ms


def look_again(page: Page, edit: Edit, rules: Rules) -> None:
    """Something came that may let an edit go sooner than was thought."""
    edit.look_ms = 0
    sooner(page, edit_due(page, edit, rules))


def close(page: Page, edit: Edit, rules: Rules) -> None:
    """Take an edit from those that wait once it waits under no policy."""
    if not page.open or PENDING in edit.states[: rules.count]:
        return
    if page.open[-1] is edit:
        page.open.pop()
    elif page.open[0] is edit:
        del page.open[0]
    else:
        page.open = [other for other in page.open if other is not edit]
