"""What the attributes of Parsoid's HTML say: which box an element is, where a link leads, which template made it.

Source: Parsoid HTML 2.x, https://www.mediawiki.org/wiki/Specs/HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

import orjson

from schemas.json_text import as_text

# Classes, in the words of the wikis, of what stands around the text.
_NAVIGATION = (
    "navbox navbox-inner navbox-styles navbox-container navigation vertical-navbox sidebar NavFrame NavContent navbar "
    "portalbox portal-bar portal sistersitebox sisterproject sister-box side-box bandeau-portail boite-portail toc "
    "authority-control catlinks BoxenVerschmelzen succession-box mw-authority-control navbox-vertical autres-projets "
    "rahmenfarbe1 interProject"
)
_NOTICES = (
    "hatnote dablink rellink ambox tmbox ombox cmbox imbox fmbox mbox mbox-small messagebox metadata homonymie stub "
    "bandeau-container shortdescription mw-indicators printfooter wikidata-linkback mw-editsection "
    "disambig-notice disambig-see-also disambig-see-also-2 othermeaning-box hauptartikel Inline-Template "
    "geo-nondefault geo-multi-punct cite_virgule mw-cite-backlink"
)
NAVIGATION = frozenset(_NAVIGATION.split())
NOTICES = frozenset(_NOTICES.split())
CAPTIONS = frozenset({"gallerytext", "thumbcaption", "infobox-caption"})
INFOBOX = re.compile(
    r"(?:^|[\s_])(?:infobox\w*|infoboks|sinottico|taxobox|ficha|bilgikutusu|infokast)(?=[\s_-]|$)", re.IGNORECASE
)
# Names of templates that make one and do not say so in a class.
INFOBOX_TEMPLATE = re.compile(
    r"(?:infobox|info/|taxobox|speciesbox|ficha|infoboks|infotaula|карточка|картка|інфобокс|инфокутија|bilgi kutusu|"
    r"cutie|infokast|infookvir|tietolaatikko|تصنيف كائن|صندوق معلومات|تېشۋىق|جعبه|基礎情報|信息框|정보)",
    re.IGNORECASE,
)
INVISIBLE = re.compile(r"display\s*:\s*none", re.IGNORECASE)

_TAG = re.compile(r"<[^<>]*+>")
_TEX = re.compile(r"\{\\(?:display|text|script)style (.*)\}\s*\Z", re.DOTALL)


class Kind(IntEnum):
    """What the classes of an element make of it."""

    PLAIN = 0
    NAVIGATION = 1
    NOTICE = 2
    CAPTION = 3
    FORMULA = 4
    CITATION = 5
    INFOBOX = 6


class Kinds(dict[str, Kind]):
    """Classes as they are written → what they make of an element; remembered for as long as a page is read.

    plain: those that make nothing of it. To look there first takes a third of the time.
    """

    def __init__(self) -> None:
        self.plain: set[str | None] = set()

    def __missing__(self, classes: str) -> Kind:
        kind = self[classes] = kind_of(classes)
        if kind is Kind.PLAIN:
            self.plain.add(classes)
        return kind


def kind_of(classes: str) -> Kind:
    """
    >>> kind_of("infobox biography vcard").name, kind_of("plainlinks metadata ambox").name
    ('INFOBOX', 'NOTICE')
    """
    names = frozenset(classes.split())
    if not NAVIGATION.isdisjoint(names):
        return Kind.NAVIGATION
    if not NOTICES.isdisjoint(names):
        return Kind.NOTICE
    if not CAPTIONS.isdisjoint(names):
        return Kind.CAPTION
    if "mwe-math-element" in names:
        return Kind.FORMULA
    if "Z3988" in names:
        return Kind.CITATION
    if INFOBOX.search(classes):
        return Kind.NAVIGATION if "noprint" in names else Kind.INFOBOX
    return Kind.PLAIN


class Target(NamedTuple):
    """Where a link within the wiki leads. title: with prefix and spaces."""

    title: str
    anchor: str | None
    exists: bool


def target(href: str) -> Target:
    """Where `./Title?action=edit&redlink=1#anchor` leads, or the same as a whole address.

    >>> target("./Töre_(law)?action=edit&redlink=1")
    Target(title='Töre (law)', anchor=None, exists=False)
    >>> target("./AC%2FDC#Early_years")
    Target(title='AC/DC', anchor='Early_years', exists=True)
    """
    if href[:2] == "./" and href[2:3] != "." and "#" not in href and "?" not in href:
        return Target(decoded(href[2:]).replace("_", " "), None, True)
    path, hash_mark, anchor = href.partition("#")
    path, _, query = path.partition("?")
    if path[:1] == ".":
        while path[:2] == "./" or path[:3] == "../":
            path = path[path.index("/") + 1 :]
    else:
        path = path[path.find("/wiki/") + 6 :] if "/wiki/" in path else path
    title = decoded(path).replace("_", " ")
    anchor = decoded(anchor)
    return Target(title=title, anchor=anchor if hash_mark else None, exists="redlink=1" not in query)


def title_of(href: str) -> str:
    """The title alone of where `./Title` leads."""
    # Nearly all are such.
    if href[:2] == "./" and "#" not in href and "?" not in href and "%" not in href:
        return href[2:].replace("_", " ")
    return target(href).title


def decoded(text: str) -> str:
    """Without percent signs; what is no UTF-8 is replaced.

    >>> decoded("AC%2FDC"), decoded("L%F8"), decoded("ж%D0%B6")
    ('AC/DC', 'L\ufffd', 'жж')
    """
    if "%" not in text:
        return text
    # What `unquote` does with each part that is ASCII, here with the whole.
    return unquote_to_bytes(text).decode("utf-8", "replace") if text.isascii() else unquote(text)


def without_prefix(title: str) -> str:
    """The part behind the namespace.

    >>> without_prefix("Catégorie:Naissance en juin 1906")
    'Naissance en juin 1906'
    """
    return title.partition(":")[2] or title


def category(href: str) -> tuple[str, str | None]:
    """Title without prefix and sort key of `./Category:Title#key`."""
    title, sort_key, _ = target(href)
    return without_prefix(title), sort_key


def template_calls(data_mw: Any) -> list[tuple[str, dict[str, str]]]:
    """Name and parameters of each template in a `data-mw`; parser functions are none."""
    calls = []
    for part in data_mw["parts"]:
        template = part.get("template") if isinstance(part, dict) else None
        if template is None or "href" not in template["target"]:
            continue
        name = without_prefix(title_of(template["target"]["href"]))
        parameters = {}
        for key, value in template["params"].items():
            text = value.get("wt")
            parameters[key] = text if isinstance(text, str) else as_text(value.get("wt", value.get("html", "")))
        calls.append((name, parameters))
    return calls


def read_json(text: str) -> dict[str, Any] | None:
    """A `data-mw`; None where it is broken, as in 2 of 117 pages."""
    try:
        doc = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return doc if isinstance(doc, dict) else None


def open_url(title: str) -> Mapping[str, str]:
    """The fields of a COinS title, those of authors and works (`rft.`) only; of repeated ones the first.

    >>> open_url("ctx_ver=Z39.88-2004&rft.jtitle=Nature&rft.date=1953&rfr_id=info:sid/x")
    {'jtitle': 'Nature', 'date': '1953'}
    >>> open_url("rft.btitle=Moon+%26%23124%3B+Sun")
    {'btitle': 'Moon | Sun'}
    """
    fields: dict[str, str] = {}
    for part in f"&{title}".split("&rft.")[1:]:
        key, _, said = part.partition("&")[0].partition("=")
        if said and key not in fields:
            value = decoded(said.replace("+", " "))
            # The template that made it wrote a bar or an ampersand as an entity.
            fields[key] = html.unescape(value) if "&" in value else value
    return fields


def variant_text(data_mw: str) -> str:
    """What `-{...}-` shows, whose element Parsoid leaves empty; of the variants of a word the first.

    >>> variant_text('{"twoway":[{"l":"zh-hans","t":"联邦州"},{"l":"zh-hant","t":"邦"}]}')
    '联邦州'
    >>> variant_text('{"disabled":{"t":"<i>km</i>"}}')
    'km'
    """
    doc = read_json(data_mw) or {}
    for name in ("disabled", "filter", "name", "twoway", "oneway"):
        said = doc.get(name)
        first = said[0] if isinstance(said, list) and said else said
        if isinstance(first, dict):
            return html.unescape(_TAG.sub("", as_text(first.get("t", ""))))
    return ""


def formula(alttext: str) -> str:
    r"""The TeX of a formula without what MediaWiki puts around it.

    >>> formula(r"{\displaystyle |G|=[G:H]|H|.}")
    '|G|=[G:H]|H|.'
    """
    match = _TEX.match(alttext)
    return match[1].strip() if match else alttext.strip()


def pixels(text: str | None) -> int | None:
    """A `width` or `height`; None where it is no number of pixels."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 7 else None
