"""The scanner against mwparserfromhell and wikitextparser on real pages: what it finds is what they find.

Each field is held against the library that does what MediaWiki does there: headings against mwparserfromhell without
style tags, links, templates and tables against wikitextparser, references and external links against either. Where
they differ, `ACCEPTED` names the class and the reason. None of them is shipped.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import mwparserfromhell
import pytest
import wikitextparser
from mwedittypes import SimpleEditTypes

from processors.delta import compare
from processors.found import Scan
from processors.links import is_url, link_target
from processors.namespaces import CATEGORY, FILE, Namespaces, language_of, namespaces_of, normal_title, split_prefix
from processors.scan import scan
from processors.templates import template_name

PAGES = Path(__file__).parents[2] / "shared" / "data" / "pages" / "wikitext"
# mwparserfromhell hangs on this page for 14 to 20 s.
HANGS = "eswiki__raw-Wikipedia_Wikirreto"
# Page → field → what may differ: how many items at most, and why.
ACCEPTED: dict[str, dict[str, tuple[int, str]]] = {
    # `<ref name="{{harvnb|..}}">`: MediaWiki does not expand the attributes of an extension's tag; both libraries do.
    "enwiki__al_Haytham(wtf)": {"templates": (22, "templates in the name of a reference")},
    # `http://a.org&lt;/ref&gt;`: MediaWiki ends a url before an escaped angle bracket, neither library does.
    "enwiki__anarchism(wtf)": {"external links": (12, "escaped tags behind a url")},
    "enwiki__article(jsonwp)": {"external links": (6, "escaped tags behind a url")},
    # `{{cite book|url=http://a|date=15 ...` that nobody closes: to MediaWiki the bar belongs to the url, not to us.
    "enwiki__United_States(wme-1272790964)": {"external links": (2, "a url in braces that nobody closes")},
    # `[News: ...]` is a link to nowhere: to mwparserfromhell a link, to MediaWiki none.
    "enwiki__raw-France(sweble)": {"external links": (1, "a scheme without an address")},
}
KINDS = {"Wikilink": "W", "Category": "C", "Media": "M"}


def paths() -> list[Path]:
    return sorted(PAGES.iterdir()) if PAGES.is_dir() else []


def namespaces(path: Path) -> Namespaces:
    return namespaces_of(path.stem.partition("__")[0])


@cache
def scanned(path: Path) -> Scan:
    return scan(path.read_text("utf-8"), namespaces(path))


def target(raw: str, names: Namespaces) -> str | None:
    """A link's target as the scanner names it; None where it is an external link in too many brackets."""
    title = link_target(raw)
    if title is None or is_url(title):
        return None
    title = title.partition("#")[0]
    prefix, rest = split_prefix(title)
    number = names.numbers.get(prefix, 0) if prefix and rest else 0
    if number in {CATEGORY, FILE}:
        return f"{'C' if number == CATEGORY else 'M'} {normal_title(rest, names)}"
    if prefix in names.languages and rest and number == 0:
        return f"W {prefix}:{normal_title(rest, names)}"
    return f"W {normal_title(title.lstrip(': '), names)}"


def ours(path: Path, text: str) -> dict[str, Counter[Any]]:
    found, padded = scanned(path), "\n" + text
    return {
        "links": Counter(f"{KINDS[k]} {n}" for a, _, k, n in found.parts if k in KINDS and padded[a : a + 2] == "[["),
        "templates": Counter(template.name for template in found.templates),
        "references": Counter(reference.content for reference in found.references),
        "headings": Counter(section.level for section in found.sections[1:]),
        "external links": Counter(link.url for link in found.external_links),
        "tables": Counter(padded[a:b].strip(" \n:") for a, b, kind, _ in found.parts if kind == "Table"),
    }


def by_wikitextparser(text: str, names: Namespaces) -> dict[str, Counter[Any]]:
    page = wikitextparser.parse(text)
    templates = [named[0] for t in page.templates if (named := template_name(t.name, names)) is not None]
    return {
        "links": Counter(found for link in page.wikilinks if (found := target(link.target, names)) is not None),
        "templates": Counter(templates) + Counter(function.name.strip() for function in page.parser_functions),
        # It sees those in a gallery's captions, mwparserfromhell does not.
        "references": Counter(
            None if ref.string.endswith("/>") else ref.contents.strip() for ref in page.get_tags("ref")
        ),
        "external links": Counter(link.url for link in page.external_links),
        "tables": Counter(table.string.strip(" \n:") for table in page.tables),
    }


def by_mwparserfromhell(text: str) -> dict[str, Counter[Any]]:
    page = mwparserfromhell.parse(text, skip_style_tags=True)
    references = page.filter_tags(matches=lambda node: str(node.tag).strip().lower() == "ref")
    return {
        "references": Counter(None if ref.self_closing else str(ref.contents).strip() for ref in references),
        "headings": Counter(heading.level for heading in page.filter_headings()),
        "external links": Counter(str(link.url) for link in page.filter_external_links()),
    }


def missed(found: Counter[Any], oracle: Counter[Any]) -> int:
    return ((found - oracle) + (oracle - found)).total()


def differences(path: Path) -> dict[str, tuple[int, int]]:
    """Field → how many items differ, and how many there are."""
    text = path.read_text("utf-8")
    found, theirs = ours(path, text), by_wikitextparser(text, namespaces(path))
    others = {} if path.stem.startswith(HANGS) else by_mwparserfromhell(text)
    differ = {}
    for field, items in found.items():
        oracles = [theirs[field]] if field in theirs else []
        if field in others:
            oracles.append(others[field])
        if oracles:
            differ[field] = min(missed(items, oracle) for oracle in oracles), items.total()
    return differ


def agree(chosen: list[Path]) -> None:
    """Each page but the accepted ones is the same in all fields; in all, the bounds of each field hold."""
    if not chosen:
        pytest.skip("the shared pages are not here; nothing is compared")
    items: Counter[str] = Counter()
    differ: Counter[str] = Counter()
    for path in chosen:
        allowed = ACCEPTED.get(path.stem, {})
        for field, (count, total) in differences(path).items():
            most, _ = allowed.get(field, (0, ""))
            assert count <= most, (path.stem, field)
            assert (count > 0) == (field in allowed), f"{path.stem}, {field}: no difference any more"
            items[field] += total
            differ[field] += count
    assert differ["headings"] == differ["tables"] == 0
    assert all(differ[field] <= 0.01 * items[field] for field in items), (differ, items)


def test_real_pages_read_as_the_libraries_read_them() -> None:
    every = paths()
    agree([path for number, path in enumerate(every) if number % 9 == 0 or path.stem in ACCEPTED])


@pytest.mark.soak
def test_every_real_page_reads_as_the_libraries_read_it() -> None:
    agree(paths())


def test_no_real_page_is_lost() -> None:
    if not paths():
        pytest.skip("the shared pages are not here; nothing is read")
    lost = [path.stem for path in paths() if not scanned(path).plain_text and not scanned(path).templates]
    assert len(paths()) == 279
    assert all(scanned(path).redirect is not None or scanned(path).links for path in paths() if path.stem in lost)
    assert not any(scanned(path).degraded for path in paths())


# Deltas, against mwedittypes

PAIRS = PAGES.parent / "pairs"
_NODES = "Category Comment ExternalLink Gallery Heading List Media Reference Section Table Template Wikilink"
NODES = [*_NODES.split(), "Text Formatting"]
# Pair → kind: where the counts differ, and why.
DIFFERENT = {
    # `<noinclude>` is a comment to it.
    "aawiki__Template_User_fr-1__3658": "Comment",
    # Addresses in strings of JavaScript, which it does not find.
    "aawiki__User_Pill_monobook.js__2891": "ExternalLink",
    # 320 lines of lists became 301: it counts three less.
    "aawiki__User_Tiyoringo__2950": "List",
    # The name of a file as the value of a template: media to it, a value to us.
    "commonswiki__File_Goddess_Bhadrakali_Worshipped_by_the_Gods-_from_a_tantric_Devi_series_-_Google_Art_Project.jpg"
    "__766288715": "Media",
}
# The text of language links is text to it, that of most HTML elements is none: readers see it the other way round.
SEEN_OTHERWISE = re.compile(r"\[\[:?[a-z-]{2,12}:|<[a-z]|\{\{\{|----", re.IGNORECASE)


def edits() -> list[tuple[str, str, str]]:
    stems = [str(path)[: -len(".json")] for path in sorted(PAIRS.glob("*.json"))]
    return [(Path(s).name, *(Path(s + side).read_text("utf-8") for side in (".old.txt", ".new.txt"))) for s in stems]  # type: ignore[misc]


def test_edit_types_are_counted_as_mwedittypes_counts_them() -> None:
    if not PAIRS.is_dir():
        pytest.skip("the shared pairs of revisions are not here; nothing is compared")
    counts = differ = words = other_words = 0
    for name, old, new in edits():
        wiki = name.partition("__")[0]
        theirs = SimpleEditTypes("wikitext", old, new, language_of(wiki)).get_diff()
        types = compare(old, new, namespaces_of(wiki)).edit_types
        for kind in NODES:
            mine, its = dict(types.get(kind, {})), theirs.get(kind, {})
            actions = mine.keys() | its.keys()
            wrong = sum(mine.get(action) != its.get(action) for action in actions)
            counts, differ = counts + len(actions), differ + wrong
            assert (wrong > 0) == (DIFFERENT.get(name) == kind), (name, kind, mine, its)
        if not SEEN_OTHERWISE.search(old + new):
            words += 1
            other_words += dict(types.get("Word", {})) != theirs.get("Word", {})
    assert counts > 600
    assert differ <= 0.02 * counts, (differ, counts)
    assert words > 20
    assert other_words <= 0.02 * words, (other_words, words)
