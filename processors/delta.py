"""What an edit did: two texts in, edit types and differences out.

Only sections whose text changed are scanned, each side once. Things are compared by their wikitext: what both sides
have as often is unchanged, wherever it moved to. What only one side has is an insert or a remove; where both sides have
some under the same name (a link's target, a template's name) those are changes.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from processors.found import Scan
from processors.namespaces import Namespaces
from processors.plain_text import clean_inline
from processors.scan import MAX_SIZE, scan
from processors.sections import title_span
from schemas.enriched import Delta, Difference, SectionsTouched

HEADING = re.compile(r"\n=")
# Longer things are told apart by length and checksum, so that nested ones are not copied once per level.
LONGEST_KEY = 20_000
# These have no name that outlives a change: whatever one side lost and the other gained was changed.
NAMELESS = frozenset({"Heading", "Table", "Comment", "Gallery"})
# Languages that do not put spaces between words: there a character is the unit.
UNSPACED = frozenset({"gan", "hak", "ja", "km", "lo", "my", "th", "wuu", "zh", "zh-classical", "zh-yue"})
WORD = re.compile(r"[^\s!-/:-@\[-`{-~\u00a1-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]++")

_T = TypeVar("_T")
Raw = tuple[str, str]


def compare(old: str, new: str, namespaces: Namespaces, found: Scan | None = None) -> Delta:
    """The difference between a revision's text and its parent's. Texts beyond `MAX_SIZE` are compared up to there.

    found: the scan of `new`, where there is one: it is used if every section changed.
    """
    before, after, sections = changed_sections(split(old[:MAX_SIZE]), split(new[:MAX_SIZE]))
    was = scan(before, namespaces)
    now = found if found is not None and after == new else scan(after, namespaces)
    removed_words, added_words = _only(_words(was, namespaces), _words(now, namespaces))
    words_added, words_removed = added_words.total(), removed_words.total()
    types = _edit_types(_keys(was, before), _keys(now, after))
    types["Section"] = _actions(len(sections.inserted), len(sections.removed), len(sections.changed))
    changed_words = min(words_added, words_removed)
    types["Word"] = _actions(words_added - changed_words, words_removed - changed_words, changed_words)
    return Delta(
        edit_types={kind: actions for kind, actions in sorted(types.items()) if actions},
        categories=_difference((c.title for c in was.categories), (c.title for c in now.categories)),
        links=_difference((link.title for link in was.links), (link.title for link in now.links)),
        templates=_difference((t.name for t in was.templates), (t.name for t in now.templates)),
        references=_difference(_references(was), _references(now)),
        sections=sections,
        words_added=words_added,
        words_removed=words_removed,
        byte_delta=len(new.encode()) - len(old.encode()),
        truncated={},
    )


def split(text: str) -> list[Raw]:
    """Title and wikitext of each section, heading included; the lead is the first, with the title "".

    Headings inside templates and comments part the text too: that costs precision, never content.
    """
    padded = "\n" + text
    sections: list[Raw] = []
    title, at = "", 1
    for match in HEADING.finditer(padded):
        start = match.start() + 1
        span = title_span(padded, start)
        if span is not None:
            sections.append((title, padded[at:start]))
            level, title_end, _ = span
            title, at = clean_inline(padded[start + level : title_end]), start
    sections.append((title, padded[at:]))
    return sections


def changed_sections(old: list[Raw], new: list[Raw]) -> tuple[str, str, SectionsTouched]:
    """What is left of both sides without sections of equal wikitext, and how those that are left pair up by title."""
    same = Counter(text for _, text in old) & Counter(text for _, text in new)
    before, after = _without(old, same), _without(new, same)
    paired = Counter(title for title, _ in before) & Counter(title for title, _ in after)
    changed, inserted = _pair([title for title, _ in after], paired)
    _, removed = _pair([title for title, _ in before], paired)
    touched = SectionsTouched(inserted=inserted, removed=removed, changed=changed)
    return "".join(text for _, text in before), "".join(text for _, text in after), touched


def _without(sections: list[Raw], same: Counter[str]) -> list[Raw]:
    left = same.copy()
    kept = []
    for title, text in sections:
        if left[text] > 0:
            left[text] -= 1
        else:
            kept.append((title, text))
    return kept


def _pair(titles: list[str], paired: Counter[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    left = paired.copy()
    both, alone = [], []
    for title in titles:
        if left[title] > 0:
            left[title] -= 1
            both.append(title)
        else:
            alone.append(title)
    return tuple(both), tuple(alone)


def _only(old: Counter[_T], new: Counter[_T]) -> tuple[Counter[_T], Counter[_T]]:
    """What only the old has, and what only the new has."""
    return old - new, new - old


def _keys(found: Scan, text: str) -> Counter[tuple[str, str, str]]:
    """Kind, name and wikitext of everything that was found."""
    padded = "\n" + text
    return Counter((kind, name, _key(padded, start, end)) for start, end, kind, name in found.parts)


def _key(text: str, start: int, end: int) -> str:
    if end - start <= LONGEST_KEY:
        return text[start:end]
    return f"{end - start}:{zlib.crc32(text[start:end].encode('utf-8', 'replace'))}"


def _edit_types(old: Counter[tuple[str, str, str]], new: Counter[tuple[str, str, str]]) -> dict[str, Mapping[str, int]]:
    removed, added = _only(old, new)
    gone: Counter[Raw] = Counter()
    came: Counter[Raw] = Counter()
    for (kind, name, _), count in removed.items():
        gone[kind, "" if kind in NAMELESS else name] += count
    for (kind, name, _), count in added.items():
        came[kind, "" if kind in NAMELESS else name] += count
    both = gone & came
    counts: dict[str, list[int]] = {}
    for at, side in enumerate((came - both, gone - both, both)):
        for (kind, _), count in side.items():
            counts.setdefault(kind, [0, 0, 0])[at] += count
    return {kind: _actions(*three) for kind, three in counts.items()}


def _actions(inserted: int, removed: int, changed: int) -> Mapping[str, int]:
    counts = {"change": changed, "insert": inserted, "remove": removed}
    return {action: count for action, count in counts.items() if count}


def _words(found: Scan, namespaces: Namespaces) -> Counter[str]:
    if namespaces.language in UNSPACED:
        return Counter(character for character in found.plain_text if character.isalnum())
    return Counter(WORD.findall(found.plain_text))


def _references(found: Scan) -> Iterable[str]:
    return (r.content if r.content is not None else f"<ref name={r.name or ''}/>" for r in found.references)


def _difference(old: Iterable[str], new: Iterable[str]) -> Difference:
    removed, added = _only(Counter(old), Counter(new))
    return Difference(added=tuple(sorted(added.elements())), removed=tuple(sorted(removed.elements())))
