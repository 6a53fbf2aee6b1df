"""When to look at a page again, and what may fire there by then. Pure.

The edits of a page stand in a queue, each in one place. Most fire a fixed time after they were made: theirs is the
soonest such moment of those that are left, and when it is met they get the next. On a page where that does not hold of
each, it is a watermark before which an edit will not fire, at which it is asked for its outcome; one that was left for
another stays until it is met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from processors.fire import outcome, usual_fire_ms
from processors.plans import Plan, Rules
from schemas.page import PENDING, Due, Edit, Page

# Signals often come before the page_change of their revision.
WAIT_MS = 600_000
# Before every watermark.
AT_ONCE_MS = -1


def line_up(page: Page, rules: Rules) -> None:
    """After plans have changed: see anew in which way the edits of a page wait, and for what."""
    page.tricky = any(edit.plan.special or edit.floors or edit.start_ms < rules.gap_end_ms for edit in page.open) or (
        rules.blocks and _something_is_barred(page)
    )
    page.lines = page.times = page.untold = None
    queue_up(page, rules)


def _something_is_barred(page: Page) -> bool:
    return (page.still is not None and page.still.bars) or any(edit.bars_others for edit in page.recent)


def look_closely(page: Page, rules: Rules) -> None:
    """From now on the edits of the page do not simply fire one by one."""
    if not page.tricky:
        page.tricky = True
        queue_up(page, rules)


def queue_up(page: Page, rules: Rules) -> None:
    """Make the queue anew from the edits that wait."""
    page.queue = []
    for edit in page.open:
        enqueue(page, edit, rules)


def enqueue(page: Page, edit: Edit, rules: Rules) -> int | None:
    """Put an edit into its place in the queue, and return that; None if it waits for nothing."""
    plan: Plan = edit.plan
    if page.tricky:
        waits_ms = plan.least_wait_ms(edit.states)
        return None if waits_ms is None else _ask_at(page, edit, edit.start_ms + waits_ms)
    ahead = plan.ahead(edit.states)
    if ahead is None:
        return None
    at_ms = edit.start_ms + ahead[0]
    heappush(page.queue, (at_ms, edit.rev_id, edit.epoch, ahead[1], edit))
    return at_ms


def _ask_at(page: Page, edit: Edit, at_ms: int) -> int:
    edit.look_ms = at_ms
    heappush(page.queue, (at_ms, edit.rev_id, edit.epoch, (), edit))
    return at_ms


def due_by(page: Page, heard_ms: Sequence[int], rules: Rules) -> Iterator[Due]:
    """What the edits of a page may do by now, in the order in which they do it; it is taken from the queue."""
    queue, until_ms = page.queue, heard_ms[0]
    if page.tricky:
        yield from _asked(page, heard_ms, rules)
        return
    while queue and queue[0][0] <= until_ms:
        entry = heappop(queue)
        yield entry
        enqueue(page, entry[4], rules)


def _asked(page: Page, heard_ms: Sequence[int], rules: Rules) -> Iterator[Due]:
    until_ms, queue = max(heard_ms), page.queue
    while True:
        asked: dict[Edit, None] = {}
        while queue and queue[0][0] <= until_ms:
            entry = heappop(queue)
            if _stands(page, entry):
                asked[entry[4]] = None
        found: list[Due] = []
        for edit in asked:
            _ask(page, edit, heard_ms, rules, found)
        found.sort(key=lambda entry: entry[:4])
        yield from found
        for edit in asked:
            if edit in page.open:
                _ask_at(page, edit, _next_fire(page, edit, rules, until_ms))
        if not found:
            return  # else what went out may have ended the line of another one that is due


def _ask(page: Page, edit: Edit, heard_ms: Sequence[int], rules: Rules, found: list[Due]) -> None:
    watermarks = edit.plan.watermarks
    for lane in range(rules.count):
        until_ms = heard_ms[watermarks[lane]]
        if edit.states[lane] == PENDING and usual_fire_ms(edit, lane) <= until_ms:
            fire_ms = outcome(page, edit, lane, rules, until_ms).fire_ms
            if fire_ms <= until_ms:
                found.append((fire_ms, edit.rev_id, edit.epoch, (lane,), edit))


def _next_fire(page: Page, edit: Edit, rules: Rules, heard_ms: int) -> int:
    """The soonest moment at which an edit that waits may fire; what should have by `heard_ms` is looked at closely."""
    found: list[int] = []
    for lane in range(rules.count):
        if edit.states[lane] == PENDING:
            at_ms = usual_fire_ms(edit, lane)
            found.append(outcome(page, edit, lane, rules, heard_ms).fire_ms if at_ms <= heard_ms else at_ms)
    return min(found)


def _stands(page: Page, entry: Due) -> bool:
    at_ms, _, _, lanes, edit = entry
    if page.tricky:
        return at_ms == edit.look_ms and edit in page.open
    states = edit.states
    for lane in lanes:  # noqa: SIM110 - a generator takes three times as long, and this is asked for every edit
        if states[lane] == PENDING:
            return True
    return False


def next_due(page: Page, rules: Rules) -> int | None:
    """A watermark before which `advance` will not change this page; None = never."""
    if page.owed:
        return AT_ONCE_MS
    queue = page.queue
    while queue and not _stands(page, queue[0]):
        edit = heappop(queue)[4]
        if not page.tricky:
            enqueue(page, edit, rules)
    moments = [waiting.signal.at_ms + WAIT_MS for waiting in page.waiting]
    if (first_ms := page.first_ms) is not None:
        moments.append(first_ms + rules.keep_ms)
    if queue:
        moments.append(queue[0][0])
    return min(moments, default=None)


def sooner(page: Page, due_ms: int | None) -> None:
    """Look at a page at `due_ms` at the latest."""
    if due_ms is not None and (page.due_ms is None or due_ms < page.due_ms):
        page.due_ms = due_ms


def look_again(page: Page, edit: Edit, rules: Rules) -> None:
    """Something came that may let an edit go sooner than was thought."""
    if edit in page.open:
        sooner(page, enqueue(page, edit, rules))


def close(page: Page, edit: Edit, rules: Rules) -> None:
    """Take an edit from those that wait once it waits under no policy."""
    states = edit.states
    if PENDING not in (states if len(states) == rules.count else states[: rules.count]):
        page.open.pop(edit, None)
