"""Signals that name no page by its id: what they name instead, and those that wait for it. Pure.

A log action names a title, a block an editor. They often come before the event of their page, so they wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from processors.due import WAIT_MS
from processors.hear import Blocked, Edited, Flagged, Heard, hear

WAIT_PREFIX = b"~wait:"


def ref_of(heard: Heard) -> str:
    """By what an event names its page that has no page id; "" if it has one."""
    if isinstance(heard, Blocked):
        return user_ref(heard.wiki, heard.user)
    return "" if heard.page_id else title_ref(heard.wiki, heard.title)


def user_ref(wiki: str, user: str) -> str:
    """The pages on which an editor's edits wait."""
    return f"u:{wiki}:{user}"


def title_ref(wiki: str, title: str) -> str:
    """The page that has a title."""
    return f"t:{wiki}:{title}"


def event_id(heard: Heard) -> str:
    """The event that said it."""
    return heard.event_id if type(heard) is Edited or type(heard) is Flagged else heard.signal.event_id  # type: ignore[union-attr]


def _at_ms(heard: Heard) -> int:
    return heard.at_ms if isinstance(heard, (Edited, Flagged)) else heard.signal.at_ms


class _Lost(NamedTuple):
    number: int
    ref: str
    at_ms: int
    heard: Heard


class Unplaced:
    """What waits, by what it names. beside: takes what changed about that, as records of the state topic."""

    def __init__(self, beside: dict[bytes, bytes | None]) -> None:
        self._beside = beside
        self._lost: dict[bytes, _Lost] = {}
        self._by_ref: dict[str, dict[bytes, None]] = {}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._lost)

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take up what waits of records of the state topic."""
        for key, value in records:
            heard = hear(value) if key.startswith(WAIT_PREFIX) else None
            if heard is not None and not isinstance(heard, Edited):
                self._put(key, heard)

    def keep(self, heard: Heard, value: bytes) -> None:
        """Let an event wait. value: its bytes."""
        key = WAIT_PREFIX + event_id(heard).encode()
        self._put(key, heard)
        self._beside[key] = value

    def _put(self, key: bytes, heard: Heard) -> None:
        self._count += 1
        number = self._lost[key].number if key in self._lost else self._count
        lost = self._lost[key] = _Lost(number, ref_of(heard), _at_ms(heard), heard)
        self._by_ref.setdefault(lost.ref, {})[key] = None

    def found(self, edit: Edited, *, of_pages: bool = False) -> Iterator[Heard]:
        """What waited for this page or this editor, in the order in which it came.

        of_pages: only what is said of a page as a whole.
        """
        refs = (title_ref(edit.wiki, edit.title), edit.user and user_ref(edit.wiki, edit.user))
        keys = [key for ref in refs if ref for key in self._by_ref.get(ref, ())]
        for key in sorted(keys, key=lambda key: self._lost[key].number):
            heard = self._lost[key].heard
            if of_pages and not isinstance(heard, Flagged):
                continue
            if isinstance(heard, Blocked):
                yield heard  # it bars other pages' edits, too
            else:
                self._drop(key)
                yield heard._replace(page_id=edit.page_id)

    def expire(self, until_ms: int) -> None:
        """Time has come to `until_ms`: nobody waits for ever."""
        for key in [key for key, lost in self._lost.items() if lost.at_ms + WAIT_MS <= until_ms]:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        ref = self._lost.pop(key).ref
        self._beside[key] = None
        del self._by_ref[ref][key]
        if not self._by_ref[ref]:
            del self._by_ref[ref]
