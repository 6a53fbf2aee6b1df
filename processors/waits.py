"""How an edit joins its page, and begins to wait. Pure."""

from __future__ import annotations

from collections.abc import Collection

from processors.due import close, enqueue, look_closely, sooner
from processors.plans import Rules
from processors.release import release
from schemas.decision import Decision
from schemas.page import PENDING, Edit, Page

# Beyond so many, a page's oldest settled edits are forgotten before the horizon.
MOST_EDITS = 4096
# So many editors within an hour are breaking news.
BREAKING_EDITORS, BREAKING_MS = 10, 3_600_000


def fresh(page: Page, rules: Rules) -> bytes:
    """How an edit stands that was just observed: it waits under each lane, and is unknown to policies that are gone."""
    gone = len(page.names) - len(rules.names)
    return rules.zero + b"5" * gone if gone else rules.zero


def waiting(page: Page, rules: Rules) -> Collection[Edit]:
    """The edits that wait under some policy, or did when that went."""
    if len(page.names) == len(rules.names):
        return page.open
    return [edit for edit in page.recent if PENDING in edit.states]


def flags_of(page: Page, at_ms: int, user: str | None, rules: Rules) -> tuple[str, ...]:
    """What is so of a page for an edit made at `at_ms`, as far as a rule can ask for it."""
    if not rules.titles and not rules.breaking:
        return ()
    flags: tuple[str, ...] = ("protected",) if page.protected_ms and page.protected_ms <= at_ms else ()
    if rules.breaking:
        editors = {e.user for e in page.edits if at_ms - BREAKING_MS < e.start_ms <= at_ms and e.user} | {user}
        flags += ("breaking",) if len(editors) >= BREAKING_EDITORS else ()
    return flags


def join(page: Page, edit: Edit, rules: Rules) -> None:
    """Put an edit behind the others of its page."""
    if edit.plan.special or edit.start_ms < rules.gap_end_ms:
        look_closely(page, rules)
    if edit.rev_id <= page.last_rev:
        page.mixed = True
    page.recent.append(edit)
    page.open[edit] = None
    if page.untold is not None:
        page.untold.add(edit)


def begin(page: Page, edit: Edit, rules: Rules, decisions: list[Decision]) -> None:
    """Let go what is not held at all; the rest waits from now on."""
    for lane in edit.plan.instant:
        if edit.states[lane] == PENDING:
            release(page, edit, lane, edit.start_ms, rules, decisions)
    close(page, edit, rules)
    if PENDING in edit.states:
        sooner(page, enqueue(page, edit, rules))
    sooner(page, edit.start_ms + rules.keep_ms if page.count <= MOST_EDITS else 0)
