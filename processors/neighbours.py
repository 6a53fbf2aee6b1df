"""What an edit says about those that wait beside it: somebody else edited after them, or the page is at war. Pure.

Each of them is told once, so those that were not yet told are kept apart, by their editors: an arriving edit looks at
nobody to whom it has nothing to say.
"""

from __future__ import annotations

from processors.plans import Plan, Rules
from processors.tell import has, tell
from schemas.decision import Decision, Signal
from schemas.page import PENDING, Edit, Page
from schemas.reasons import SignalKind


class Untold:
    """Edits that wait for another editor, by their own, and those that wait longer in a war."""

    __slots__ = ("alone", "calm")

    def __init__(self, page: Page) -> None:
        self.alone: dict[str | None, list[Edit]] = {}
        self.calm: list[Edit] = []
        for edit in page.open:
            self.add(edit)

    def add(self, edit: Edit) -> None:
        """Take in an edit that waits."""
        if _waits_for(edit, SignalKind.OTHER_EDITOR):
            self.alone.setdefault(edit.user, []).append(edit)
        if _waits_for(edit, SignalKind.EDIT_WAR):
            self.calm.append(edit)


def note_neighbours(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """Tell the others that wait that somebody edited after them, and all of them that the page is at war."""
    if page.untold is None:
        page.untold = Untold(page)
    untold: Untold = page.untold
    if edit.user is not None:
        said = Signal(SignalKind.OTHER_EDITOR, edit.event_id, edit.start_ms, edit.rev_id)
        for user in [user for user in untold.alone if user != edit.user]:
            others = _tell_all(page, untold.alone.pop(user), said, rules, decisions)
            if others:
                untold.alone[user] = others
    if untold.calm and _at_war(page, edit.start_ms, rules):
        said = Signal(SignalKind.EDIT_WAR, edit.event_id, edit.start_ms)
        untold.calm = _tell_all(page, untold.calm, said, rules, decisions)


def _tell_all(
    page: Page, edits: list[Edit], signal: Signal, rules: Rules, decisions: list[Decision]
) -> list[Edit]:  # fmt: skip
    """Returns those to whom it says nothing: their epoch began after it."""
    for edit in edits:
        if _waits_for(edit, signal.kind):
            tell(page, edit, signal, rules, decisions)
    return [edit for edit in edits if _waits_for(edit, signal.kind)]


def _waits_for(edit: Edit, kind: SignalKind) -> bool:
    """Whether a signal of that kind would change how long the edit waits, and it has none."""
    plan: Plan = edit.plan
    lanes = plan.wars if kind is SignalKind.EDIT_WAR else plan.others
    return any(edit.states[lane] == PENDING for lane in lanes) and not has(edit, kind)


def _at_war(page: Page, at_ms: int, rules: Rules) -> bool:
    for number, span_ms in rules.wars:
        recent = [user for when, user in page.reverts if at_ms - span_ms < when <= at_ms]
        if len(recent) >= number and len(set(recent)) > 1:
            return True
    return False
