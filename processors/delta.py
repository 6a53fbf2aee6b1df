"""What an edit did: two texts in, edit types and differences out.

Only what one side alone has is scanned: of the sections whose text changed, the blocks of lines that are not on the
other side as well. Things are compared by their wikitext: what both sides have as often is unchanged, wherever it moved
to. Of each kind what both sides have left is a change, the rest of the new side an insert, of the old side a remove:
the words and the counting of mwedittypes' simple edit types.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from processors.blocks import Rest, Section, beyond, only, rests, split
from processors.found import Scan
from processors.namespaces import Namespaces
from processors.scan import MAX_SIZE, scan
from schemas.enriched import Degraded, Delta, Difference, SectionsTouched

# Characters of what one side alone has. Both are read and then compared, in no more time than a page may take; what
# people write at once is shorter.
MAX_COMPARED = MAX_SIZE // 3
# Longer things are told apart by length and checksum, so that nested ones are not copied once per level.
LONGEST_KEY = 20_000
# Languages that do not put spaces between words: there a character is the unit.
UNSPACED = frozenset(
    {"bo", "bug", "cdo", "dz", "gan", "hak", "ja", "km", "lo", "my", "shn", "th", "wuu", "zh", "zh-classical", "zh-yue"}
)
_IN_WORD = r"[^\s!-/:-@\[-`{-~\u00a1-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]"
WORD = re.compile(rf"{_IN_WORD}++(?:[-'’]{_IN_WORD}++)*+")
# Marks of lists, and bold and italics: counted, since they have no name and no place of their own.
LIST = re.compile(r"\n([*#:;]++)")
QUOTES = re.compile(r"''++")
RULE = re.compile(r"\n-{4,}+")
ELEMENT = re.compile(
    r"<(/?)(table|b|i|u|s|del|ins|small|big|sub|sup|font|blockquote|center|span|nowiki|pre|br|hr)\b[^<>]*+>",
    re.IGNORECASE,
)

# Kind, what tells a thing from others of its kind (its wikitext), and the title of the section it is in.
Thing = tuple[str, str, str]
NONE = Difference()


def compare(old: str, new: str, namespaces: Namespaces, found: Scan | None = None) -> Delta:
    """The difference between a revision's text and its parent's.

    Texts are compared up to `MAX_SIZE`, and of what only one side has the first `MAX_COMPARED` characters; what was cut
    is `degraded`. found: the scan of `new`, where there is one: it is used if every section changed.
    """
    gone, came = only(_sections(old), _sections(new), lambda section: section.text)
    sections = touched([section.title for section in gone], [section.title for section in came])
    removed, added = rests(gone, came)
    before, after = _bounded(removed), _bounded(added)
    cut = before is not removed or after is not added or max(len(old), len(new)) > MAX_SIZE
    was = scan(before.text, namespaces)
    now = found if found is not None and after.text == new else scan(after.text, namespaces)
    removed_words, added_words = only(_words(was, namespaces), _words(now, namespaces))
    words_added, words_removed = len(added_words), len(removed_words)
    types, by_section = _edit_types(was, before, now, after)
    types["Section"] = _actions(*_counted(sections))
    unit = "Character" if namespaces.language in UNSPACED else "Word"
    changed_words = min(words_added, words_removed)
    types[unit] = _actions(words_added - changed_words, words_removed - changed_words, changed_words)
    return Delta(
        edit_types={kind: actions for kind, actions in sorted(types.items()) if actions},
        edit_types_by_section=by_section,
        categories=_difference([c.title for c in was.categories], [c.title for c in now.categories]),
        links=_difference([link.title for link in was.links], [link.title for link in now.links]),
        external_links=_difference([e.url for e in was.external_links], [e.url for e in now.external_links]),
        media=_difference([m.title for m in was.media], [m.title for m in now.media]),
        templates=_difference([t.name for t in was.templates], [t.name for t in now.templates]),
        references=_difference(_references(was), _references(now)),
        maintenance=_difference([t.name for t in was.maintenance], [t.name for t in now.maintenance]),
        sections=sections,
        words_added=words_added,
        words_removed=words_removed,
        degraded=(Degraded.SIZE,) if cut else (),
        byte_delta=len(new.encode("utf-8", "surrogatepass")) - len(old.encode("utf-8", "surrogatepass")),
        truncated={},
    )


def _bounded(rest: Rest) -> Rest:
    return rest if len(rest.text) <= MAX_COMPARED else rest._replace(text=rest.text[:MAX_COMPARED])


def _sections(text: str) -> list[Section]:
    """Without a lead that is empty."""
    return [section for section in split(text[:MAX_SIZE]) if section.text]


def touched(old: list[str], new: list[str]) -> SectionsTouched:
    """How sections pair up by their titles. old, new: the titles of those whose text changed."""
    removed, inserted = only(old, new)
    return SectionsTouched(inserted=tuple(inserted), removed=tuple(removed), changed=tuple(beyond(new, inserted)))


def _counted(sections: SectionsTouched) -> tuple[int, int, int]:
    """Sections inserted, removed and changed, where one that got another title is a change."""
    inserted, removed = len(sections.inserted), len(sections.removed)
    renamed = min(inserted, removed)
    return inserted - renamed, removed - renamed, len(sections.changed) + renamed


def _edit_types(
    was: Scan, before: Rest, now: Scan, after: Rest
) -> tuple[dict[str, Mapping[str, int]], dict[str, dict[str, Mapping[str, int]]]]:
    """Kind → action → how many; and the same by the titles of the sections where it happened."""
    removed, added = only(_things(was, before), _things(now, after), lambda thing: thing[:2])
    gone, came = _titles(removed), _titles(added)
    types: dict[str, Mapping[str, int]] = {}
    counts: dict[str, dict[str, list[int]]] = {}
    for kind in sorted(gone.keys() | came.keys()):
        lost, got = gone.get(kind, []), came.get(kind, [])
        both = min(len(lost), len(got))
        types[kind] = _actions(len(got) - both, len(lost) - both, both)
        for action, titles in enumerate((got[both:], lost[both:], got[:both])):
            for title in titles:
                counts.setdefault(title, {}).setdefault(kind, [0, 0, 0])[action] += 1
    by_section = {
        title: {kind: _actions(*three) for kind, three in kinds.items()} for title, kinds in sorted(counts.items())
    }
    return types, by_section


def _titles(things: Iterable[Thing]) -> dict[str, list[str]]:
    titles: dict[str, list[str]] = {}
    for kind, _, title in things:
        titles.setdefault(kind, []).append(title)
    return titles


def _things(found: Scan, rest: Rest) -> list[Thing]:
    """What is compared."""
    padded = "\n" + rest.text
    things = [(start, kind, _key(padded, start, end)) for start, end, kind, _ in found.parts]
    for match in LIST.finditer(padded):
        things += [(match.start(1), "List", mark) for mark in match[1]]
    if "''" in padded:
        things += [(start, "Text Formatting", style) for start, style in _styles(padded)]
    things += [(match.start(), "Text Formatting", "hr") for match in RULE.finditer(padded)]
    if "<" in padded:
        for name, start, end in _elements(padded):
            things.append((start, "Table" if name == "table" else "Text Formatting", _key(padded, start, end)))
    if len(rest.titles) == 1:
        return [(kind, key, rest.titles[0]) for _, kind, key in things]
    # A line break was put before the text.
    return [(kind, key, rest.titles[bisect_right(rest.starts, start - 1)]) for start, kind, key in sorted(things)]


def _styles(text: str) -> Iterator[tuple[int, str]]:
    """Pairs of quotes in a line: bold and italics as mwedittypes counts them."""
    at = 0
    for line in text.split("\n"):
        if "''" in line:
            runs = Counter(size for run in QUOTES.findall(line) for size in _runs(len(run)))
            for size, count in sorted(runs.items()):
                for _ in range(count // 2):
                    yield at, "'" * size
        at += len(line) + 1


def _elements(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each HTML element that shapes text and is closed."""
    opened: dict[str, list[int]] = {}
    for match in ELEMENT.finditer(text):
        name, start = match[2].lower(), match.start()
        if name in {"br", "hr"} or text[match.end() - 2] == "/":
            yield name, start, match.end()
        elif not match[1]:
            opened.setdefault(name, []).append(start)
        elif opened.get(name):
            yield name, opened[name].pop(), match.end()


def _runs(length: int) -> list[int]:
    """How a run of quotes is cut up: fives, then threes, then twos."""
    fives, rest = divmod(length, 5)
    threes, rest = divmod(rest, 3)
    return [5] * fives + [3] * threes + [2] * (rest // 2)


def _key(text: str, start: int, end: int) -> str:
    if end - start <= LONGEST_KEY:
        return text[start:end]
    return f"{end - start}:{zlib.crc32(text[start:end].encode('utf-8', 'replace'))}"


def _actions(inserted: int, removed: int, changed: int) -> Mapping[str, int]:
    counts = {"change": changed, "insert": inserted, "remove": removed}
    return {action: count for action, count in counts.items() if count}


def _words(found: Scan, namespaces: Namespaces) -> list[str]:
    """Words of the text and of the tables; characters where words are not spaced."""
    text = found.plain_text
    if found.tables:
        texts = [cell.text for table in found.tables for row in table.rows for cell in row]
        text = "\n".join([text, *texts, *(table.caption for table in found.tables if table.caption)])
    if namespaces.language in UNSPACED:
        return [character for character in text if character.isalnum()]
    return WORD.findall(text)


def _references(found: Scan) -> list[str]:
    return [r.content if r.content is not None else f"<ref name={r.name or ''}/>" for r in found.references]


def _difference(old: list[str], new: list[str]) -> Difference:
    removed, added = only(old, new)
    return Difference(added=tuple(sorted(added)), removed=tuple(sorted(removed))) if removed or added else NONE
