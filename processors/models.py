"""Which content model a page has, by its title: for texts that come without one."""

from __future__ import annotations

import re

from processors.namespaces import Namespaces, split_prefix

USER, MEDIAWIKI, DATA, MODULE = 2, 8, 486, 828
ITEM = re.compile(r"[QPL][1-9]\d*\Z")
ENTITY = {"Q": "wikibase-item", "P": "wikibase-property", "L": "wikibase-lexeme"}
CODE = {".css": "css", ".js": "javascript", ".json": "json"}


def model_of(wiki: str, title: str, namespaces: Namespaces) -> str:
    """MediaWiki's default model of a title.

    >>> from processors.namespaces import namespaces_of
    >>> [model_of("dewiki", title, namespaces_of("dewiki")) for title in ("Ness", "Modul:A", "User:A/b.css")]
    ['wikitext', 'Scribunto', 'css']
    >>> model_of("wikidatawiki", "Q42", namespaces_of("wikidatawiki"))
    'wikibase-item'
    """
    prefix, rest = split_prefix(title)
    number = namespaces.numbers.get(prefix, 0) if prefix else 0
    if wiki == "wikidatawiki" and ITEM.match(rest if prefix in {"property", "lexeme"} else title):
        return ENTITY[rest[0] if prefix else title[0]]
    if number == MODULE and not rest.endswith("/doc"):
        return "Scribunto"
    if number == DATA and rest.endswith((".tab", ".map", ".chart")):
        return f"{rest.rpartition('.')[2].replace('tab', 'tabular').capitalize()}.JsonConfig"
    if number in {USER, MEDIAWIKI}:
        return next((model for ending, model in CODE.items() if rest.endswith(ending)), "wikitext")
    return "wikitext"
