"""Which edits wait for what others do on their page, and were not told of it yet. Pure.

Each is told once: of the first later edit by another editor, and of the first moment, of its own arrival or later, at
which the page was at war. What nobody asked for when it came is made up for when a rule asks. An edit in another epoch
than its first is nobody's doing, so it says nothing.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence

from processors.lines import REVERTS
from processors.plans import Plan, Rules
from processors.release import has, note
from processors.waits import MOST_EDITS
from schemas.decision import Signal
from schemas.page import PENDING, Edit, Page
from schemas.policy import War
from schemas.reasons import SignalKind

# (place of the edit that reverts among those of the page, when, by whom).
_Revert = tuple[int, int, str]


class Untold:
    """Edits that wait for another editor, by their own, and those that wait longer in a war, by the war."""

    __slots__ = ("alone", "calm")

    def __init__(self, page: Page, rules: Rules) -> None:
        self.alone: dict[str | None, list[Edit]] = {}
        self.calm: dict[War, list[Edit]] = {war: [] for war in rules.wars}
        for edit in page.open:
            self.add(edit)

    def add(self, edit: Edit) -> None:
        """Take in an edit that waits."""
        if waits_for_others(edit):
            self.alone.setdefault(edit.user, []).append(edit)
        for war, calm in self.calm.items():
            if waits_at_war(edit, war):
                calm.append(edit)


def waits_for_others(edit: Edit) -> bool:
    """Whether another editor would change how long the edit waits, and it was told of none."""
    plan: Plan = edit.plan
    return any(edit.states[lane] == PENDING for lane in plan.others) and not has(edit, SignalKind.OTHER_EDITOR)


def waits_at_war(edit: Edit, war: War) -> bool:
    """Whether a war that its rules see would change how long the edit waits, and it was not told of it."""
    plan: Plan = edit.plan
    waits = any(edit.states[lane] == PENDING and plan.rules[lane].war == war for lane in plan.wars)
    return waits and not any(s.model == war.name for s in edit.signals)


def other_editor(edit: Edit) -> Signal:
    """What an edit says to those that wait for another editor."""
    return Signal(SignalKind.OTHER_EDITOR, edit.event_id, edit.start_ms, edit.rev_id)


def at_war(edit: Edit, war: War) -> Signal:
    """What it says where the page was at war when it came."""
    return Signal(SignalKind.EDIT_WAR, edit.event_id, edit.start_ms, model=war.name)


def makes_war(reverts: Iterable[tuple[int, str]], at_ms: int, war: War) -> bool:
    """Whether these reverts of a page by another make a war at a time."""
    span_ms = round(war.hours * 3_600_000)
    recent = [user for when, user in reverts if at_ms - span_ms < when <= at_ms]
    return len(recent) >= war.n and len(set(recent)) > 1


def note_revert(page: Page, at_ms: int, user: str, rules: Rules) -> None:
    """An edit undid another's."""
    insort(page.reverts, (at_ms, user))
    page.reverts = _latest(page.reverts, rules)


def _latest(reverts: Sequence[tuple[int, str]], rules: Rules) -> list[tuple[int, str]]:
    """Some time longer than a war is told from, as an edit may come late; and no more than there may be edits."""
    return [revert for revert in reverts if revert[0] > reverts[-1][0] - 2 * rules.war_ms][-MOST_EDITS:]


def catch_up(page: Page, rules: Rules) -> None:
    """After plans have changed: tell those that wait what they would have heard if their rules had asked before.

    Where all was told as it came, this finds nothing.
    """
    if not rules.neighbours:
        return
    untold = Untold(page, rules)
    if untold.alone:
        _tell_of_others(page, [edit for alone in untold.alone.values() for edit in alone])
    if not rules.war_ms:
        return
    reverts = _all_reverts(page)
    page.reverts = _latest(sorted((when, user) for _, when, user in reverts), rules)
    for war, calm in untold.calm.items():
        if calm and len(reverts) >= war.n:
            _tell_of_war(page, calm, war, reverts)


def _tell_of_others(page: Page, alone: Sequence[Edit]) -> None:
    waits = set(alone)
    # From the end: the next edit by somebody who is known, and the next by somebody else than that one.
    following: Edit | None = None
    another: Edit | None = None
    for at in range(len(page.edits) - 1, -1, -1):
        edit = page.edits[at]
        if edit in waits:
            later = following if following is None or following.user != edit.user else another
            if later is not None and edit.epoch and later.start_ms < edit.start_ms:
                later = next((each for each in page.edits[at + 1 :] if _is_another(edit, each)), None)
            if later is not None:
                note(edit, other_editor(later))
        if not edit.epoch and edit.user is not None:
            if following is not None and following.user != edit.user:
                another = following
            following = edit


def _is_another(edit: Edit, later: Edit) -> bool:
    return not later.epoch and later.user not in {None, edit.user} and later.start_ms >= edit.start_ms


def _tell_of_war(page: Page, calm: Sequence[Edit], war: War, reverts: Sequence[_Revert]) -> None:
    waits, untold = set(calm), list[Edit]()
    for at, edit in enumerate(page.edits):
        if edit in waits:
            untold.append(edit)
        if untold and not edit.epoch and makes_war([r[1:] for r in reverts if r[0] <= at], edit.start_ms, war):
            said, late = at_war(edit, war), []
            for other in untold:
                if other.epoch and edit.start_ms < other.start_ms:
                    late.append(other)
                else:
                    note(other, said)
            untold = late


def _all_reverts(page: Page) -> list[_Revert]:
    """Those that are kept, and those of which only the edits tell; of what is not told by them the place is -1."""
    undid = {s.by_rev_id for edit in page.edits for s in edit.signals if s.kind in REVERTS and not s.by_self}
    found: list[_Revert] = [
        (at, edit.start_ms, edit.user)
        for at, edit in enumerate(page.edits)
        if edit.rev_id in undid and not edit.epoch and edit.user is not None
    ]
    kept = Counter(page.reverts)
    kept.subtract((when, user) for _, when, user in found)
    return [*found, *((-1, *each) for each in kept.elements())]
