"""What an edit says about those that wait beside it: somebody else edited after them, or the page is at war. Pure.

Each of them is told once, so those that were not yet told are kept apart, by their editors: an arriving edit looks at
nobody to whom it has nothing to say.
"""

from __future__ import annotations

from processors.plans import Plan, Rules
from processors.tell import has, tell
from schemas.decision import Decision, Signal
from schemas.page import PENDING, Edit, Page
from schemas.policy import War
from schemas.reasons import SignalKind


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
        if _waits_for_others(edit):
            self.alone.setdefault(edit.user, []).append(edit)
        for war, calm in self.calm.items():
            if _waits_at_war(edit, war):
                calm.append(edit)


def note_neighbours(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """Tell the others that wait that somebody edited after them, and all of them that the page is at war."""
    if page.untold is None:
        page.untold = Untold(page, rules)
    untold: Untold = page.untold
    if edit.user is not None:
        said = Signal(SignalKind.OTHER_EDITOR, edit.event_id, edit.start_ms, edit.rev_id)
        for user in [user for user in untold.alone if user != edit.user]:
            others = untold.alone.pop(user)
            for other in others:
                if _waits_for_others(other):
                    tell(page, other, said, rules, decisions)
            # It says nothing to those whose epoch began after it.
            others = [other for other in others if _waits_for_others(other)]
            if others:
                untold.alone[user] = others
    for war, calm in untold.calm.items():
        if calm and _at_war(page, edit.start_ms, war):
            said = Signal(SignalKind.EDIT_WAR, edit.event_id, edit.start_ms, model=war.name)
            for other in calm:
                if _waits_at_war(other, war):
                    tell(page, other, said, rules, decisions)
            untold.calm[war] = [other for other in calm if _waits_at_war(other, war)]


def _waits_for_others(edit: Edit) -> bool:
    """Whether another editor would change how long the edit waits, and it was told of none."""
    plan: Plan = edit.plan
    return any(edit.states[lane] == PENDING for lane in plan.others) and not has(edit, SignalKind.OTHER_EDITOR)


def _waits_at_war(edit: Edit, war: War) -> bool:
    """Whether a war that its rules see would change how long the edit waits, and it was not told of it."""
    plan: Plan = edit.plan
    waits = any(edit.states[lane] == PENDING and plan.rules[lane].war == war for lane in plan.wars)
    return waits and not any(s.model == war.name for s in edit.signals)


def _at_war(page: Page, at_ms: int, war: War) -> bool:
    span_ms = round(war.hours * 3_600_000)
    recent = [user for when, user in page.reverts if at_ms - span_ms < when <= at_ms]
    return len(recent) >= war.n and len(set(recent)) > 1
