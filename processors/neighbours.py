"""What an edit says about those that wait beside it: somebody else edited after them, or the page is at war. Pure.

Each of them is told once, so those that were not yet told are kept apart, by their editors: an arriving edit looks at
nobody to whom it has nothing to say.
"""

from __future__ import annotations

from processors.plans import Rules
from processors.tell import tell
from processors.untold import Untold, at_war, makes_war, other_editor, waits_at_war, waits_for_others
from schemas.decision import Decision
from schemas.page import Edit, Page


def note_neighbours(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """Tell the others that wait that somebody edited after them, and all of them that the page is at war."""
    if page.untold is None:
        page.untold = Untold(page, rules)
    untold: Untold = page.untold
    if edit.user is not None:
        said = other_editor(edit)
        for user in [user for user in untold.alone if user != edit.user]:
            others = untold.alone.pop(user)
            for other in others:
                if waits_for_others(other):
                    tell(page, other, said, rules, decisions)
            # It says nothing to those whose epoch began after it.
            others = [other for other in others if waits_for_others(other)]
            if others:
                untold.alone[user] = others
    for war, calm in untold.calm.items():
        if calm and makes_war(page.reverts, edit.start_ms, war):
            said = at_war(edit, war)
            for other in calm:
                if waits_at_war(other, war):
                    tell(page, other, said, rules, decisions)
            untold.calm[war] = [other for other in calm if waits_at_war(other, war)]
