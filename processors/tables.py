"""The inside of `{| ... |}`, after the links, templates, references and tables within it were resolved."""

from __future__ import annotations

import re

from processors.plain_text import clean_inline
from schemas.shapes import Cell, Table

SPAN = re.compile(r"""\b(col|row)span\s*+=\s*+["']?\s*+(\d{1,4})""", re.IGNORECASE)
START = re.compile(r"[ \t:]*+(\|\+|\|-|\|\}|\||!)")


def read_table(text: str) -> Table:
    """Rows and cells of a table.

    text: from `{|` on, without the closing `|}`.

    >>> table = read_table("{| class=x\\n|+ Lakes\\n! Name !! colspan=2 | Depth\\n|-\\n| Ness || 227 || m")
    >>> table.caption, [[cell.text for cell in row] for row in table.rows]
    ('Lakes', [['Name', 'Depth'], ['Ness', '227', 'm']])
    """
    caption: list[str] | None = None
    rows: list[list[tuple[bool, list[str]]]] = [[]]
    last: list[str] | None = None  # where a line that begins with no mark belongs to
    for line in text.lstrip("\n").split("\n")[1:]:
        match = START.match(line)
        mark = match[1] if match else ""
        rest = line[match.end() :] if match else line
        if not mark:
            if last is not None:
                last.append(line)
        elif mark == "|-":
            if rows[-1]:
                rows.append([])
            last = None
        elif mark == "|+":
            caption = last = [rest]
        elif mark in "|!":
            for cell in _cells(rest, mark == "!"):
                last = [cell]
                rows[-1].append((mark == "!", last))
    return Table(
        caption=None if caption is None else _text("\n".join(caption))[0],
        rows=tuple(tuple(_cell(lines, header) for header, lines in row) for row in rows if row),
    )


def _cells(line: str, header: bool) -> list[str]:
    return (line.replace("!!", "||") if header else line).split("||")


def _cell(lines: list[str], header: bool) -> Cell:
    text, attributes = _text("\n".join(lines) if len(lines) > 1 else lines[0])
    if not attributes:
        return Cell(text, header)
    spans = {match[1].lower(): max(int(match[2]), 1) for match in SPAN.finditer(attributes)}
    return Cell(text, header, spans.get("col", 1), spans.get("row", 1))


def _text(raw: str) -> tuple[str, str]:
    """The text, and the attributes before the first bar."""
    attributes, bar, rest = raw.partition("|")
    if bar and "\n" not in attributes:
        return clean_inline(rest), attributes
    return clean_inline(raw), ""
