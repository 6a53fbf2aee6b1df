"""Licence and attribution, by project: what every record must carry and what readers of a text owe its authors.

Source: the terms of use of each Wikimedia project; each wiki also states its own in `siprop=rightsinfo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

CC0 = ("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/")
CC_BY_SA_4 = ("CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/")
CC_BY_25 = ("CC-BY-2.5", "https://creativecommons.org/licenses/by/2.5/")
# On Wikidata items, properties and lexemes are CC0; talk and project pages are text like any other.
WIKIDATA_DATA_NAMESPACES = frozenset({0, 120, 146})
NAMES = {
    "wikipedia": "Wikipedia",
    "wiktionary": "Wiktionary",
    "wikibooks": "Wikibooks",
    "wikinews": "Wikinews",
    "wikiquote": "Wikiquote",
    "wikisource": "Wikisource",
    "wikiversity": "Wikiversity",
    "wikivoyage": "Wikivoyage",
    "wikidata": "Wikidata",
    "wikifunctions": "Wikifunctions",
    "mediawiki": "MediaWiki.org",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """licence: SPDX identifier. attribution_url: the page's history, where its authors are named."""

    licence: str
    licence_url: str
    attribution: str
    attribution_url: str


def rights(domain: str, namespace: int, title: str, rev_id: int) -> Rights:
    """The rights of one revision of one project.

    domain: host of the wiki (`de.wikipedia.org`). title: with its prefix, in spaces or underscores.
    """
    labels = domain.split(".")
    family = labels[-2] if len(labels) > 1 else domain
    project = f"Wikimedia {labels[0].capitalize()}" if family == "wikimedia" else NAMES.get(family, domain)
    licence, licence_url = _licence(family, namespace)
    shown = title.replace("_", " ")
    page = quote(title.replace(" ", "_"), safe="/:")
    return Rights(
        licence=licence,
        licence_url=licence_url,
        attribution=f"“{shown}” by {project} contributors, revision {rev_id}, {licence}",
        attribution_url=f"https://{domain}/w/index.php?title={page}&action=history",
    )


def _licence(family: str, namespace: int) -> tuple[str, str]:
    if family == "wikidata" and namespace in WIKIDATA_DATA_NAMESPACES:
        return CC0
    if family == "wikinews":
        return CC_BY_25
    return CC_BY_SA_4
