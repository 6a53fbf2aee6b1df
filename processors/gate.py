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
from functools import partial
from itertools import pairwise

from processors.arrive import arrive
from processors.due import WAIT_MS, attach, close, due_by, line_up, next_due, queue_up
from processors.fire import outcome
from processors.hear import Blocked, Edited, Flagged, Heard, Told
from processors.lineage import last_out
from processors.plans import Rules
from processors.release import release, settle
from processors.tell import barred_by_now, flagged, tell, told
from processors.waits import MOST_EDITS
from schemas.decision import Decision
from schemas.page import NONE, PENDING, Edit, Page
from schemas.page_record import spread


def new_page(wiki: str, page_id: int, rules: Rules) -> Page:
    """A page of which nothing is known yet."""
    rules = rules.on(wiki)
    return Page(wiki, page_id, names=rules.names, lanes=rules.lanes, newest=[0] * rules.count, swept=[0] * rules.count)


def observe(page: Page, heard: Heard, rules: Rules) -> tuple[Page, list[Decision]]:
    """What an event does to its page. A repeat changes nothing, and leaves `page.dirty` as it was."""
    rules = rules_for(page, rules)
    decisions: list[Decision] = []
    if type(heard) is Edited:
        arrive(page, heard, rules, decisions)
    elif type(heard) is Told:
        told(page, heard, rules, decisions)
    elif type(heard) is Blocked:
        open_ = page.edits[-1:] if heard.waited else page.open
        barred = [e for e in open_ if e in page.open and e.user == heard.user and e.start_ms <= heard.signal.at_ms]
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

    What waits under any policy waits under the new ones, and what is out stays out, also where its policy was gone
    for a while.
    """
    spread(page)
    if page.names[: len(rules.names)] != rules.names:
        _rename(page, rules)
    rules = rules.on(page.wiki)
    page.lanes = rules.lanes_of({edit.states for edit in page.edits} | set(_parted(page)))
    rules = rules.of(page.lanes)
    page.open, page.swept = {}, [0] * rules.count
    page.mixed = _is_mixed(page.edits)
    give = partial(attach, page.wiki, rules)
    for edit in page.edits:
        edit.restate(rules.gather(edit.states))
        if edit.line is not None and edit.line.unread:
            edit.line.attach = give
        else:
            give(edit)
        if edit.states.find(PENDING, 0, rules.count) >= 0:
            page.open[edit] = None
    page.newest = [0 if (out := last_out(page, lane)) is None else out.rev_id for lane in range(rules.count)]
    line_up(page, rules)
    page.due_ms = next_due(page, rules)
    return page


def rules_for(page: Page, rules: Rules) -> Rules:
    """The rules, with the lanes that policies share on a page."""
    rules = rules if page.lanes is rules.lanes else rules.on(page.wiki)
    return rules if page.lanes is rules.lanes else rules.of(page.lanes)


def _parted(page: Page) -> Iterator[bytes]:
    """Per policy 1 or 0: whether it is one of those under which an edit was kept so long, or went out so."""
    for edit in page.edits:
        if edit.floors or edit.out:
            for places in {floor[0] for floor in edit.floors} | {out[0] for out in edit.out}:
                yield bytes(at in places for at in range(len(page.names)))


def _is_mixed(edits: Sequence[Edit]) -> bool:
    for one, other in pairwise(edits):  # noqa: SIM110 - a generator takes three times as long, on every page
        if one.rev_id >= other.rev_id:
            return True
    return False


def _rename(page: Page, rules: Rules) -> None:
    gone = tuple(name for name in page.names if name not in rules.names)
    old, names = {name: at for at, name in enumerate(page.names)}, rules.names + gone

    def moved(places: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(names.index(page.names[at]) for at in places)

    for edit in page.edits:
        edit.unfold()
        edit.line = None
        fresh = PENDING if PENDING in edit.states else NONE
        edit.states = bytes(edit.states[old[name]] if name in old else fresh for name in names)
        edit.out = tuple((moved(each[0]), *each[1:]) for each in edit.out)
        edit.floors = tuple((moved(places), at_ms) for places, at_ms in edit.floors)
    page.names = names


def _forget(page: Page, heard_ms: int, rules: Rules) -> None:
    gone_ms = heard_ms - rules.keep_ms
    if page.edits and (page.edits[0].start_ms <= gone_ms or len(page.edits) > MOST_EDITS):
        kept = [edit for edit in page.edits if edit.start_ms > gone_ms]
        excess = len(kept) - MOST_EDITS
        if excess > 0:
            kept = [edit for at, edit in enumerate(kept) if at >= excess or edit in page.open]
        if len(kept) < len(page.edits):
            page.dirty, page.mixed = True, _is_mixed(kept)
            page.edits = kept
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
