"""The inside of `{{...}}`: its name and its parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from processors.namespaces import TEMPLATE, Namespaces, normal_title, split_prefix

COMMENT = re.compile(r"<!--(?:[^-]++|-(?!->))*+(?:-->|$)")
# How magic words that take a value after a colon are written, where they are not in the table.
CAPITALS = re.compile(r"[A-Z]{3,}\Z")

Span = tuple[int, int]


def template_name(raw: str, namespaces: Namespaces) -> tuple[str, str | None] | None:
    """Name and, of a parser function or magic word, the value behind its colon. None: the braces are text.

    raw: what is between `{{` and the first `|`.

    >>> from processors.namespaces import namespaces_of
    >>> template_name(" infobox_person\\n", namespaces_of("enwiki"))
    ('Infobox person', None)
    >>> template_name("#if: x ", namespaces_of("enwiki"))
    ('#if', 'x')
    """
    name = (COMMENT.sub("", raw) if "<!--" in raw else raw).strip()
    if not name or name[0] in "|}":
        return None
    before, colon, after = name.partition(":")
    if colon and (before[0:1] == "#" or before.strip() in namespaces.functions or CAPITALS.match(before)):
        return before.strip(), after.strip()
    if "{{" in name:
        return " ".join(name.split()), None
    if "\n" in name or "[" in name or "]" in name or "<" in name or ">" in name:
        return None
    if colon:
        prefix, rest = split_prefix(name)
        if rest and namespaces.numbers.get(prefix) == TEMPLATE:
            name = rest
    return normal_title(name, namespaces), None


def equals_sign(text: str, start: int, end: int, children: Sequence[Span]) -> int:
    """Position of the first `=` in text[start:end] outside of `children` (in order); -1 where there is none."""
    at = text.find("=", start, end)
    if at < 0:
        return -1
    for child_start, child_end in children:
        if child_end <= start:
            continue
        if at < child_start:
            break
        if at < child_end:
            at = text.find("=", child_end, end)
            if at < 0:
                break
    return at


def split_values(raw: str, longest: int) -> tuple[list[str], dict[str, str], int]:
    """The same as `parameters`, of a template with nothing nested in it. raw: what is behind its first `|`."""
    positional: list[str] = []
    named: dict[str, str] = {}
    values = raw.split("|")
    cut = 0
    if len(raw) > longest:
        cut = sum(max(len(value) - longest, 0) for value in values)
        values = [value[:longest] for value in values]
    for value in values:
        name, equals, rest = value.partition("=")
        if equals:
            named[name.strip()] = rest.strip()
        else:
            positional.append(value)
    return positional, named, cut


def parameters(
    text: str, end: int, pipes: Sequence[int], children: Sequence[Span], longest: int
) -> tuple[list[str], dict[str, str], int]:
    """Positional values as written, named ones stripped, and how many characters were cut off.

    pipes: positions of the template's own `|`; end: where its closing braces begin. children: spans, in order, of what
    is nested in it and hides its own `=`: templates, links, comments, `<nowiki>`. A value keeps `longest` characters.
    """
    if not children and end - pipes[0] <= longest:
        return split_values(text[pipes[0] + 1 : end], longest)
    positional: list[str] = []
    named: dict[str, str] = {}
    cut = 0
    waiting = list(reversed(children))
    for number, pipe in enumerate(pipes):
        start, stop = pipe + 1, pipes[number + 1] if number + 1 < len(pipes) else end
        inside: list[Span] = []
        while waiting and waiting[-1][0] < stop:
            inside.append(waiting.pop())
        equals = equals_sign(text, start, stop, inside)
        value_start = start if equals < 0 else equals + 1
        cut += max(stop - value_start - longest, 0)
        value = text[value_start : min(stop, value_start + longest)]
        if equals < 0:
            positional.append(value)
        else:
            named[text[start : min(equals, start + longest)].strip()] = value.strip()
    return positional, named, cut
