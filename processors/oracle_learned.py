"""Which hold an edit gets where its rule asks for protection: from the table in force when the edit was read.

A table has a row for a stratum (wiki, editor class, activity of the page), for a whole wiki, and for all wikis; the
narrowest that there is counts. Activity is known once the log has been heard for the thirty days of which it is told.
What waited before a policy asked for this share takes the table that was in force when that policy came.
"""

from __future__ import annotations

from bisect import bisect_right

from processors.oracle_page import Edit, Page
from processors.oracle_rules import DAY_MS
from schemas.learned import Protect, Stratum
from schemas.policy import Policies

MONTH_MS = 30 * DAY_MS
# Fewer edits than so many within thirty days, and its name.
ACTIVITIES = {1: "<1", 5: "1-5", 30: "5-30", 150: "30-150"}


def learned(page: Page, edit: Edit, target: float, place: int) -> Protect:
    """What was chosen for an edit. place: where the policies came into force that ask for the target now."""
    asked = targets(page.partition.policies_at(edit.place))
    table = page.partition.learned_at(edit.place if target in asked else place)
    stratum = Stratum(edit.event.wiki, str(edit.editor), _activity(page, edit) if asked else "")
    rows = {} if table is None else table.rows
    row = next((rows[at, target] for at in (stratum, Stratum(stratum.wiki), Stratum()) if (at, target) in rows), None)
    if row is None:
        return Protect(target, stratum, None, 0, None)
    return Protect(target, stratum, row.stratum, row.cases, row.hold_ms)


def targets(policies: Policies | None) -> set[float]:
    """The shares that rules ask to keep away."""
    rules = [rule for policy in policies.policies for rule in policy.rules] if policies else []
    return {rule.protect for rule in rules if rule.protect is not None}


def _activity(page: Page, edit: Edit) -> str:
    part, start_ms = page.partition, edit.start_ms
    first = part.rules[0][0]
    heard = [t.heard_ms for t in part.ticks if first < t.record.offset < edit.place and t.heard_ms >= 0]
    if not heard or start_ms < heard[0] + MONTH_MS:
        return ""
    count = sum(e.place < edit.place and not e.epoch for e in page.begun(start_ms - MONTH_MS, start_ms))
    return [*ACTIVITIES.values(), ">150"][bisect_right([*ACTIVITIES], count)]
