"""Headings, and the text between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from processors.lists import take_lists
from processors.namespaces import Namespaces, normal_title
from processors.plain_text import MARK, clean
from schemas.enriched import Redirect, Section
from schemas.shapes import WikiList

REDIRECT = re.compile(r"\s*+#\s*+([^\s\[:#]++)\s*+:?\s*+\[\[([^\[\]|\n<>]++)(?:\|[^\[\]\n]*+)?\]\]")


@dataclass(slots=True, kw_only=True)
class Heading:
    """A heading while the page is read. start, end: of its line; mark: how many pieces of text came before it."""

    level: int
    start: int
    end: int
    mark: int
    title: str = ""


def title_span(text: str, start: int) -> tuple[int, int, int] | None:
    """Level, end of the title and end of the line of a heading that begins at `start`; None where it is none.

    Comments and blanks may follow the closing `=`. A line of nothing but `=` is a heading from three on.

    Source: the preprocessor of MediaWiki.
    """
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    end = _without_comments(text, start, line_end)
    level = 0
    while level < 6 and start + level < end and text[start + level] == "=":
        level += 1
    trailing = 0
    while trailing < 6 and end - trailing > start + level and text[end - trailing - 1] == "=":
        trailing += 1
    if start + level == end:
        level = trailing = (end - start - 1) // 2
    level = min(level, trailing)
    return (level, end - level, line_end) if level else None


def _without_comments(text: str, start: int, end: int) -> int:
    """Where the line ends if blanks and comments at its end do not count."""
    while True:
        while end > start and text[end - 1] in " \t":
            end -= 1
        comment = text.rfind("<!--", start, end)
        if comment < 0:
            return end
        closing = text.find("-->", comment, end)
        if closing >= 0 and closing + 3 != end:
            return end
        end = comment


def lay_out(
    pieces: Sequence[str], headings: Sequence[Heading]
) -> tuple[str, tuple[Section, ...], tuple[WikiList, ...]]:
    """The page's plain text, the sections and the lists with their places in it; the lead is the first section.

    Sections' texts are parted by one blank line.
    """
    marks = [0, *(heading.mark for heading in headings), len(pieces)]
    texts: list[str] = []
    sections: list[Section] = []
    lists: list[WikiList] = []
    at = 0
    for number in range(len(headings) + 1):
        text = clean("".join(pieces[marks[number] : marks[number + 1]]), lists=True)
        if text and texts:
            at += 2
        if MARK in text:
            text, found = take_lists(text, at)
            lists += found
        if text:
            texts.append(text)
        heading = headings[number - 1] if number else None
        sections.append(
            Section(
                level=heading.level if heading else 0,
                title=heading.title if heading else "",
                start=at,
                end=at + len(text),
            )
        )
        at += len(text)
    return "\n\n".join(texts), tuple(sections), tuple(lists)


def redirect_target(text: str, namespaces: Namespaces) -> Redirect | None:
    """Where a redirect leads. The keyword is one of the wiki's, in any case."""
    match = REDIRECT.match(text)
    if match is None or match[1].lower() not in namespaces.redirect:
        return None
    title, hash_mark, anchor = match[2].partition("#")
    return Redirect(title=normal_title(title.lstrip(": "), namespaces), anchor=anchor.strip() if hash_mark else None)
