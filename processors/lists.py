"""Lists in the plain text.

While a text is cleaned the marks of a list's line stay in it between two `MARK`, which no page has; here they become
items with their places, and go.
"""

from __future__ import annotations

from processors.plain_text import MARK
from schemas.shapes import ListItem, WikiList


def take_lists(text: str, start: int) -> tuple[str, list[WikiList]]:
    """The text without its marks, and its lists. start: the place of the text in the page's.

    >>> take_lists(f"a\\n{MARK}*{MARK}b\\n{MARK}*#{MARK}c\\nd", 10)[0]
    'a\\nb\\nc\\nd'
    """
    lines: list[str] = []
    lists: list[WikiList] = []
    items: list[ListItem] = []
    at = start
    for raw in text.split("\n"):
        line = raw
        if line[:1] == MARK:
            _, marks, line = raw.split(MARK, 2)
            items.append(ListItem(marks, at, at + len(line)))
        elif items:
            lists.append(WikiList(items=tuple(items)))
            items = []
        lines.append(line)
        at += len(line) + 1
    if items:
        lists.append(WikiList(items=tuple(items)))
    return "\n".join(lines), lists
