"""A text cut into pieces that can be read each by itself: sections, and within them blocks of whole lines.

No markup reaches out of a block, as far as counting tells, so what two revisions have as often need not be read at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from processors.plain_text import clean_inline
from processors.sections import title_span

HEADING = re.compile(r"\n=")
LINE = re.compile(r"[^\n]*+\n|[^\n]++")
MARKUP = re.compile(r"[{}<>]|\[\[|\]\]|^[ \t:]*+(?:\{\||\|\})")
TABLE = re.compile(r"[ \t:]*+(?:(\{\|)|\|\}(?!\}))")
# An opening tag that something closes; `<br>` and its like never are.
TAG = re.compile(r"<(?!(?:br|hr|p|li)\b)[a-z]", re.IGNORECASE)

_T = TypeVar("_T")


class Section(NamedTuple):
    """Title ("" for the lead) and wikitext, heading included."""

    title: str
    text: str


class Rest(NamedTuple):
    """What is left of a text, and where in it each section begins. titles[0] is that of what is before starts[0]."""

    text: str
    starts: tuple[int, ...]
    titles: tuple[str, ...]


def split(text: str) -> list[Section]:
    """Headings inside templates and comments part the text too: that costs precision, never content."""
    padded = "\n" + text
    sections: list[Section] = []
    title, at = "", 1
    for match in HEADING.finditer(padded):
        start = match.start() + 1
        span = title_span(padded, start)
        if span is not None:
            sections.append(Section(title, padded[at:start]))
            level, title_end, _ = span
            title, at = clean_inline(padded[start + level : title_end]), start
    sections.append(Section(title, padded[at:]))
    return sections


def blocks(text: str) -> list[str]:
    r"""The lines of a section, those together that markup holds together.

    >>> blocks("a\n{{b\n|c}}\nd\n")
    ['a\n', '{{b\n|c}}\n', 'd\n']
    """
    found: list[str] = []
    pending: list[str] = []
    braces = brackets = tables = comments = tags = 0
    for line in LINE.findall(text):
        pending.append(line)
        if MARKUP.search(line) is not None:
            braces += line.count("{{") - line.count("}}")
            brackets += line.count("[[") - line.count("]]")
            comments += line.count("<!--") - line.count("-->")
            if "<" in line:
                tags += len(TAG.findall(line)) - line.count("</") - line.count("/>")
            if (table := TABLE.match(line)) is not None:
                tables += 1 if table[1] else -1
        if not (braces or brackets or tables or comments or tags):
            found.append(pending[0] if len(pending) == 1 else "".join(pending))
            pending = []
    return [*found, "".join(pending)] if pending else found


def only(
    old: Sequence[_T], new: Sequence[_T], key: Callable[[_T], Hashable] = lambda thing: thing
) -> tuple[list[_T], list[_T]]:
    """What only the old has, and what only the new has, in their orders; of what one has more often, the last ones."""
    if old == new:
        return [], []
    return beyond(old, new, key), beyond(new, old, key)


def beyond(these: Iterable[_T], those: Iterable[_T], key: Callable[[_T], Hashable] = lambda thing: thing) -> list[_T]:
    """What of these is not among those, or not as often."""
    left: dict[Hashable, int] = {}
    for thing in those:
        name = key(thing)
        left[name] = left.get(name, 0) + 1
    found = []
    for thing in these:
        name = key(thing)
        count = left.get(name, 0)
        if count:
            left[name] = count - 1
        else:
            found.append(thing)
    return found


def rests(old: Sequence[Section], new: Sequence[Section]) -> tuple[Rest, Rest]:
    """What is left of sections without the blocks that both sides have."""
    before, after = ([Section(title, block) for title, text in side for block in blocks(text)] for side in (old, new))
    removed, added = only(before, after, lambda block: block.text)
    return _join(removed), _join(added)


def _join(pieces: Iterable[Section]) -> Rest:
    texts: list[str] = []
    starts: list[int] = []
    titles: list[str] = [""]
    at = 0
    for title, text in pieces:
        if title != titles[-1]:
            starts.append(at)
            titles.append(title)
        # Blocks that were apart stay apart.
        whole = text if text.endswith("\n") else text + "\n"
        texts.append(whole)
        at += len(whole)
    return Rest("".join(texts), tuple(starts), tuple(titles))
