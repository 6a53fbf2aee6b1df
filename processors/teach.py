"""What an event teaches about how soon bad edits are undone, read off the page that it has just changed. Pure.

Bad: its first revert is by another, and nobody reverted that one within 48 hours. An undoing is said as soon as it is
heard, and taken back if it does not stand, so that nobody has to remember for two days who undid whom.
"""

from __future__ import annotations

from collections.abc import Iterator

from processors.hear import Edited, Heard, Told
from schemas.decision import Signal
from schemas.lessons import Lesson
from schemas.page import Edit, Page
from schemas.reasons import SignalKind

STANDS_MS = 48 * 3_600_000
_REVERTS = frozenset({SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT, SignalKind.REVERTED_TAG})


def lessons(page: Page, heard: Heard, *, is_new: bool) -> Iterator[Lesson]:
    """is_new: the event put another edit on the page."""
    if type(heard) is Edited:
        edit = page.edits[-1] if is_new else None
        if edit is None or not edit.protects:
            return
        if not edit.epoch:
            yield Lesson(edit.protects[0].stratum, edit.start_ms)
        # Its tag may have come before it.
        yield from _of(page, edit)
        if edit.restores or heard.undone is not None:
            for other in page.edits[:-1]:
                first = _first_revert(other)
                if first is not None and first.event_id == heard.event_id:
                    yield from _of(page, other)
    elif type(heard) is Told and heard.signal.kind is SignalKind.REVERTED_TAG:
        for edit in page.edits:
            first = _first_revert(edit) if edit.rev_id == heard.rev_id else None
            if first is not None and first.event_id == heard.signal.event_id:
                yield from _of(page, edit)


def _of(page: Page, edit: Edit) -> Iterator[Lesson]:
    """What follows from the first revert of an edit."""
    first = _first_revert(edit)
    if first is None or edit.epoch:
        return
    if edit.protects and not first.by_self:
        yield Lesson(edit.protects[0].stratum, edit.start_ms, max(0, first.at_ms - edit.start_ms))
    if first.at_ms - edit.start_ms > STANDS_MS:
        return
    for other in page.edits:
        by = _first_revert(other)
        if by is not None and by.by_rev_id == edit.rev_id and not by.by_self and other.protects and not other.epoch:
            yield Lesson(other.protects[0].stratum, other.start_ms, max(0, by.at_ms - other.start_ms), stands=True)


def _first_revert(edit: Edit) -> Signal | None:
    return next((signal for signal in edit.signals if signal.kind in _REVERTS), None)
