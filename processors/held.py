"""Texts that we had a moment ago: the parent of the next edit of a page is mostly one of them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass, field

from schemas.content import Text
from schemas.event import Event, PageChange, VisibilityChange
from schemas.reasons import Answer

# What the log said was hidden, the newest; the API says the same, unless a replica of it lags behind.
KNOWN_HIDDEN = 10_000


class HeldTexts:
    """The texts used last, bounded by the memory that they take."""

    def __init__(self, limit_bytes: int = 64_000_000) -> None:
        self._limit_bytes = limit_bytes
        self._texts: OrderedDict[tuple[str, int], Text] = OrderedDict()
        self.size_bytes = 0

    def has(self, wiki: str, rev_id: int) -> bool:
        return (wiki, rev_id) in self._texts

    def get(self, wiki: str, rev_id: int) -> Text | None:
        text = self._texts.get((wiki, rev_id))
        if text is not None:
            self._texts.move_to_end((wiki, rev_id))
        return text

    def hold(self, wiki: str, text: Text) -> None:
        """Keep `text` if it is one; an answer that there is none may be another one tomorrow."""
        if text.answer is not Answer.TEXT:
            return
        self.forget(wiki, text.rev_id)
        self._texts[wiki, text.rev_id] = text
        self.size_bytes += _size(text)
        while self.size_bytes > self._limit_bytes:
            _, oldest = self._texts.popitem(last=False)
            self.size_bytes -= _size(oldest)

    def forget(self, wiki: str, rev_id: int) -> None:
        """What was hidden from the public is not to be had from us either."""
        text = self._texts.pop((wiki, rev_id), None)
        if text is not None:
            self.size_bytes -= _size(text)


@dataclass(slots=True)
class HiddenTexts:
    """Revisions whose text the log says is hidden: an answer that has it all the same came too early, or too late."""

    _revs: OrderedDict[tuple[str, int], None] = field(default_factory=OrderedDict)

    def hear(self, event: Event) -> bool:
        """Whether the event hides the text of its revision; one that shows it ends that."""
        match event:
            case VisibilityChange():
                hidden = not event.visibility.text
            case PageChange():
                hidden = not event.content_visible
            case _:
                return False
        place = event.wiki, event.rev_id
        self._revs.pop(place, None)
        if hidden:
            self._revs[place] = None
            if len(self._revs) > KNOWN_HIDDEN:
                self._revs.popitem(last=False)
        return hidden

    def without(self, wiki: str, text: Text) -> Text:
        """`text`, or that it is hidden."""
        hidden = text.answer is Answer.TEXT and (wiki, text.rev_id) in self._revs
        return Text(rev_id=text.rev_id, answer=Answer.HIDDEN) if hidden else text


def _size(text: Text) -> int:
    return sys.getsizeof(text.text) + 500
