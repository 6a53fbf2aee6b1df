"""What a simulated wiki says of itself: its names of namespaces, its licence.

Source: MediaWiki 1.43, action=query&meta=siteinfo, formatversion=2.
"""

from __future__ import annotations

from typing import Any

from streams.wiki_pages import Wiki


def siteinfo(wiki: Wiki) -> dict[str, Any]:
    """The `query` object of `meta=siteinfo&siprop=general|namespaces|namespacealiases|rightsinfo`."""
    english = {1: "Talk", 2: "User", 3: "User talk", 4: "Project", 6: "File", 10: "Template", 14: "Category"}
    local = wiki.language.namespaces
    spaces: dict[str, Any] = {"0": {"id": 0, "case": "first-letter", "name": "", "content": True}}
    for number, name in english.items():
        space = {"id": number, "case": "first-letter", "name": local[number], "canonical": name, "content": False}
        spaces[str(number)] = space
    licence = "https://creativecommons.org/licenses/by-sa/4.0/"
    return {
        "general": {
            "sitename": "Wikipedia",
            "generator": "MediaWiki 1.43.0",
            "case": "first-letter",
            "lang": wiki.language.code,
            "server": f"https://{wiki.domain}",
            "servername": wiki.domain,
            "wikiid": wiki.name,
            "articlepath": "/wiki/$1",
            "scriptpath": "/w",
        },
        "namespaces": spaces,
        "namespacealiases": [],
        "rightsinfo": {"url": licence, "text": "Creative Commons Attribution-Share Alike 4.0"},
    }
