"""Whose edits are undone alike: an edit's stratum, from what is known of its page when it is observed. Pure."""

from __future__ import annotations

from processors.plans import ACTIVITY_MS, Rules
from schemas.learned import Protect, Stratum
from schemas.page import Page

# Edits of the page within the 30 days before: the upper ends, and what they are called.
ACTIVITY = ((1, "<1"), (5, "1-5"), (30, "5-30"), (150, "30-150"), (float("inf"), ">150"))
_MOST = 150


def activity_name(edits: int) -> str:
    """What so many edits of a page within 30 days are called."""
    return next(name for end, name in ACTIVITY if edits < end)


def chosen(page: Page, editor_class: str, at_ms: int, rules: Rules) -> tuple[Protect, ...]:
    """What the table in force gives an edit made at `at_ms`, for each target of the rules. It is not on the page yet.

    How active a page is, is not known before the log has been heard for 30 days: then it is "".
    """
    activity = ""
    if rules.active_from_ms is not None and at_ms >= rules.active_from_ms:
        activity = activity_name(_edits_before(page, at_ms))
    return rules.learned.protects(Stratum(page.wiki, str(editor_class), activity), rules.targets)


def _edits_before(page: Page, at_ms: int) -> int:
    """Revisions of the 30 days before; counted no further than makes a difference."""
    found = 0
    for edit in reversed(page.edits):
        if at_ms - ACTIVITY_MS < edit.start_ms <= at_ms and not edit.epoch:
            found += 1
            if found == _MOST:
                break
    return found
