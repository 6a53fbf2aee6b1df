"""Texts that we had a moment ago: the parent of the next edit of a page is mostly one of them."""

from __future__ import annotations

import sys
from collections import OrderedDict

from schemas.content import Text
from schemas.reasons import Answer


class HeldTexts:
    """The texts used last, bounded by the memory that they take."""

    def __init__(self, limit_bytes: int = 64_000_000) -> None:
        self._limit_bytes = limit_bytes
        self._texts: OrderedDict[tuple[str, int], Text] = OrderedDict()
        self.size_bytes = 0

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


def _size(text: Text) -> int:
    return sys.getsizeof(text.text) + 500
