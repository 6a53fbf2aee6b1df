"""The gate: what one event, or time itself, does to one page under every policy. Pure.

    PENDING  --fire time heard, no bar-----------------------------> RELEASED
    PENDING  --revert by another | delete | hide | block-----------> WITHHELD(reason)
    PENDING  --risk, no review, war, taint at the fire time--------> WITHHELD(reason)
    PENDING  --self-revert | a newer edit is released--------------> SUPERSEDED(by)
    RELEASED --revert by another | delete | hide, in the horizon---> RETRACTED(reason)

Fire time f = start of the hold + hold + grace. A signal about a waiting edit whose event time is before f bars it; at
or after f the release goes first and the retraction follows, however late the tick comes that would have released it.
A hold of 0 releases what it observes: no tick, no grace. Nothing is ever un-withheld: text that comes back comes back
as another revision, or (undeletion, un-hiding) as another epoch of the same one; epochs that lie behind every limit are
forgotten, so that one undeleted after that is the first again.

`observe` and `advance` change the page that they are given and return it: the caller owns it and must not use an
older one. Apart from that they are functions: the same page, event and rules give the same page and decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from processors.arrive import arrive
from processors.due import WAIT_MS, close, due_by, line_up, next_due, queue_up
from processors.fire import outcome
from processors.hear import Blocked, Edited, Flagged, Heard, Told
from processors.plans import Rules
from processors.release import overdue, release, settle, take_back, went_out_ms
from processors.tell import barred_by_now, flagged, tell, told
from processors.untold import catch_up
from processors.waits import MOST_EDITS, waiting
from schemas.decision import Decision, Signal
from schemas.page import NONE, PENDING, RELEASED, Edit, Page
from schemas.page_record import spread


def new_page(wiki: str, page_id: int, rules: Rules) -> Page:
    """A page of which nothing is known yet."""
    rules = rules.on(wiki)
    page = Page(wiki, page_id, names=rules.names, lanes=rules.lanes, mark=rules.mark, restless=rules.restless)
    page.rules, page.newest, page.swept = rules, [0] * rules.count, [0] * rules.count
    return page


def observe(page: Page, heard: Heard, rules: Rules) -> tuple[Page, list[Decision]]:
    """What an event does to its page. A repeat changes nothing, and leaves `page.dirty` as it was."""
    rules = rules_for(page, rules)
    decisions: list[Decision] = []
    if type(heard) is Edited:
        arrive(page, heard, rules, decisions)
    elif type(heard) is Told:
        told(page, heard, rules, decisions)
    elif type(heard) is Blocked:
        waits = [e for e in page.edits[-1:] if e in page.open] if heard.waited else waiting(page, rules)
        barred = [e for e in waits if e.user == heard.user and e.start_ms <= heard.signal.at_ms]
        for edit in sorted(barred, key=lambda e: (e.rev_id, e.epoch)):
            tell(page, edit, heard.signal, rules, decisions)
    elif type(heard) is Flagged:
        flagged(page, heard, rules)
    return page, decisions


def advance(page: Page, heard_ms: Sequence[int], rules: Rules) -> tuple[Page, list[Decision]]:
    """Fire what is due, oldest fire time first; forget what is past every limit.

    heard_ms: the watermark of each set of required streams, in the order of `rules.watermarks`.
    """
    rules = rules_for(page, rules)
    decisions: list[Decision] = []
    if page.owed:
        _make_up(page, rules, decisions)
    for fire_ms, _, _, lanes, edit in due_by(page, heard_ms, rules):
        for lane in lanes:
            if edit.states[lane] != PENDING:
                continue
            if page.tricky:
                verdict = outcome(page, edit, lane, rules)
                if verdict.fire_ms > heard_ms[edit.plan.watermarks[lane]]:
                    continue  # what fired before it put it off; until then others may take its place
            if edit.signals and barred_by_now(page, edit, lane, rules, decisions):
                continue
            if page.tricky:
                settle(page, edit, lane, verdict, rules, decisions)
            else:
                release(page, edit, lane, fire_ms, rules, decisions)
        close(page, edit, rules)
    _forget(page, max(heard_ms), rules)
    page.due_ms = next_due(page, rules)
    return page, decisions


def take_up(page: Page, rules: Rules) -> Page:
    """Make a page ready that was read from somewhere, or put other policies in force for it.

    What waits under any policy waits under the new ones, also under one that was gone when it came. What was told of
    other edits before a rule asked for that is made up for; and what is out stays out, unless its policy is back in
    force and it was barred meanwhile: that is taken back at the next tick. Neither is anything new where it was read
    under the policies under which it was written.
    """
    spread(page)
    other = page.mark != rules.mark
    if other:
        if page.names[: len(rules.names)] != rules.names:
            _rename(page, rules)
        _let_wait(page, len(rules.names))
    page.mixed, page.restless = _is_mixed(page), rules.restless
    if page.mixed or page.restless:
        page.look_into()
    rules = rules.on(page.wiki)
    states = set() if page.still is None else set(page.still.states)
    page.lanes = rules.lanes_of({*states, *(edit.states for edit in page.recent), *_parted(page)})
    rules = rules.of(page.lanes)
    page.rules, page.open, page.swept = rules, {}, [0] * rules.count
    for edit in page.recent:
        rules.put_in_force(page.wiki, edit)
        if edit.states.find(PENDING, 0, rules.count) >= 0:
            page.open[edit] = None
    page.newest = [_newest(page, lane) for lane in range(rules.count)]
    page.owed = ()
    if other:
        page.owed = sorted(_owed(page, rules), key=lambda each: (each[0].at_ms, each[1].rev_id, each[1].epoch, each[2]))
        catch_up(page, rules)
        page.mark = 0 if page.owed else rules.mark
    line_up(page, rules)
    page.due_ms = next_due(page, rules)
    return page


def _newest(page: Page, lane: int) -> int:
    """A revision after which none is out."""
    out = (edit.rev_id for edit in reversed(page.recent) if edit.states[lane] == RELEASED)
    newest = max(out, default=0) if page.mixed else next(out, 0)
    return newest or (0 if page.still is None else page.still.last_rev)


def lies_still(page: Page) -> bool:
    """Whether policies mean nothing to a page that was read: nothing waits, and nothing was said of what is out."""
    said = page.reverts or (page.still is not None and page.still.bars)
    return not said and not any(edit.signals or PENDING in edit.states for edit in page.recent)


def rules_for(page: Page, rules: Rules) -> Rules:
    """The rules, with the lanes that policies share on a page."""
    rules = rules if page.lanes is rules.lanes else rules.on(page.wiki)
    return rules if page.lanes is rules.lanes else rules.of(page.lanes)


def _parted(page: Page) -> Iterator[bytes]:
    """Per policy 1 or 0: whether it is one of those under which an edit was kept so long, or went out so."""
    for edit in page.recent:
        if edit.floors or edit.out:
            for places in {floor[0] for floor in edit.floors} | {out[0] for out in edit.out}:
                yield bytes(at in places for at in range(len(page.names)))


def _is_mixed(page: Page) -> bool:
    if page.still is not None and page.recent and page.still.last_rev >= page.recent[0].rev_id:
        return True
    for one, other in pairwise(page.recent):  # noqa: SIM110 - a generator takes three times as long, on every page
        if one.rev_id >= other.rev_id:
            return True
    return False


def _owed(page: Page, rules: Rules) -> Iterator[tuple[Signal, Edit, int]]:
    """What is out, and would have been taken back if its policy had been in force when it was barred."""
    for edit in page.edits:
        for lane in range(rules.count) if edit.signals else ():
            signal = overdue(page, edit, lane, rules)
            if signal is not None:
                yield signal, edit, lane


def _make_up(page: Page, rules: Rules, decisions: list[Decision]) -> None:
    for signal, edit, lane in page.owed:
        if edit.states[lane] == RELEASED:  # else something took it back that was heard since
            take_back(page, edit, lane, signal, went_out_ms(page, edit, lane, rules), rules, decisions)
    page.owed, page.mark = (), rules.mark


def _let_wait(page: Page, policies: int) -> None:
    """What waits under any policy waits under those in force, the first so many."""
    for edit in page.recent:
        if PENDING in edit.states and NONE in edit.states[:policies]:
            edit.states = edit.states[:policies].replace(b"5", b"0") + edit.states[policies:]


def _rename(page: Page, rules: Rules) -> None:
    known = {name for at, name in enumerate(page.names) if any(edit.states[at] != NONE for edit in page.edits)}
    names = (*rules.names, *sorted(known.difference(rules.names)))
    old = {name: at for at, name in enumerate(page.names)}

    def moved(places: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(names.index(page.names[at]) for at in places)

    for edit in page.edits:
        edit.states = bytes(edit.states[old[name]] if name in old else NONE for name in names)
        edit.out = tuple((moved(each[0]), *each[1:]) for each in edit.out)
        edit.floors = tuple((moved(places), at_ms) for places, at_ms in edit.floors)
    page.names = names


def _forget(page: Page, heard_ms: int, rules: Rules) -> None:
    gone_ms = heard_ms - rules.keep_ms
    first_ms = page.first_ms
    if first_ms is not None and (first_ms <= gone_ms or page.count > MOST_EDITS):
        kept = [edit for edit in page.edits if edit.start_ms > gone_ms]
        excess = len(kept) - MOST_EDITS
        if excess > 0:
            kept = [edit for at, edit in enumerate(kept) if at >= excess or edit in page.open]
        if len(kept) < len(page.edits):
            page.edits = kept
            page.dirty, page.mixed = True, _is_mixed(page)
            page.open = {edit: None for edit in page.open if edit.start_ms > gone_ms}
            page.swept = [0] * rules.count
            page.lines = page.times = page.untold = None
            if not page.tricky:
                queue_up(page, rules)
    if page.waiting:
        waiting = [w for w in page.waiting if w.signal.at_ms + WAIT_MS > heard_ms]
        page.dirty = page.dirty or len(waiting) < len(page.waiting)
        page.waiting = waiting


def pending(page: Page, rules: Rules) -> int:
    """How many (edit, policy) pairs wait for their deadline."""
    rules = rules_for(page, rules)
    if rules.shared is None:
        return sum([edit.states.count(PENDING, 0, rules.count) for edit in page.open])
    waits = 0
    for edit in page.open:
        for lane in range(rules.count):
            if edit.states[lane] == PENDING:
                waits += rules.weights[lane]
    return waits
