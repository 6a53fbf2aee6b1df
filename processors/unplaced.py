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
    key: bytes
    ref: str
    at_ms: int
    heard: Heard


class Unplaced:
    """What waits, by what it names. beside: takes what changed about that, as records of the state topic."""

    def __init__(self, beside: dict[bytes, bytes | None]) -> None:
        self._beside = beside
        self._lost: dict[str, _Lost] = {}
        self._by_ref: dict[str, dict[str, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._lost)

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take up what waits of records of the state topic, in the order of their keys."""
        for key, value in records:
            heard = hear(value) if key.startswith(WAIT_PREFIX) else None
            if heard is not None and not isinstance(heard, Edited):
                number = key.removeprefix(WAIT_PREFIX).partition(b":")[0]
                self._put(int(number) if number.isdigit() else 0, key, heard)

    def keep(self, heard: Heard, value: bytes) -> None:
        """Let an event wait, behind all others. value: its bytes."""
        name = event_id(heard)
        if name not in self._lost:
            # In the key, so that their order is the same after a restart.
            number = next(reversed(self._lost.values())).number + 1 if self._lost else 1
            key = WAIT_PREFIX + f"{number:012}:{name}".encode()
            self._put(number, key, heard)
            self._beside[key] = value

    def _put(self, number: int, key: bytes, heard: Heard) -> None:
        name = event_id(heard)
        lost = self._lost[name] = _Lost(number, key, ref_of(heard), _at_ms(heard), heard)
        self._by_ref.setdefault(lost.ref, {})[name] = None

    def found(self, edit: Edited, *, of_pages: bool = False) -> Iterator[Heard]:
        """What waited for this page or this editor, in the order in which it came.

        of_pages: only what is said of a page as a whole.
        """
        refs = (title_ref(edit.wiki, edit.title), edit.user and user_ref(edit.wiki, edit.user))
        names = [name for ref in refs if ref for name in self._by_ref.get(ref, ())]
        for name in sorted(names, key=lambda name: self._lost[name].number):
            heard = self._lost[name].heard
            if of_pages and not isinstance(heard, Flagged):
                continue
            if isinstance(heard, Blocked):
                yield heard._replace(waited=True)  # and waits on: it bars other pages' edits, too
            else:
                self._drop(name)
                yield heard._replace(page_id=edit.page_id)

    def expire(self, until_ms: int) -> None:
        """Time has come to `until_ms`: nobody waits for ever."""
        for name in [name for name, lost in self._lost.items() if lost.at_ms + WAIT_MS <= until_ms]:
            self._drop(name)

    def _drop(self, name: str) -> None:
        lost = self._lost.pop(name)
        self._beside[lost.key] = None
        del self._by_ref[lost.ref][name]
        if not self._by_ref[lost.ref]:
            del self._by_ref[lost.ref]
