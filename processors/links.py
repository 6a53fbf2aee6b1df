"""The inside of `[[...]]`, of urls and of `<gallery>`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from processors.namespaces import FILE, Namespaces, Options, normal_title, split_prefix
from processors.plain_text import clean_inline
from processors.templates import COMMENT
from processors.tokens import is_scheme

NO_TITLE = re.compile(r"[\n<>\[\]]")


def link_target(raw: str) -> str | None:
    """What is before the first `|`, without comments; None: the brackets are text."""
    target = COMMENT.sub("", raw) if "<!--" in raw else raw
    if not target.strip() or NO_TITLE.search(target) or ("{" in target and "{{" not in target):
        return None
    return target.strip()


def is_url(target: str) -> bool:
    scheme, slashes, _ = target.partition("://")
    return bool(slashes) and is_scheme(scheme)


def caption_and_alt(parts: Sequence[str], options: Options) -> tuple[str | None, str | None]:
    """Caption and `alt=` of a file. parts: plain text of each part behind the first `|`.

    The caption is the last part that is no option.

    Source: Parser::makeImage of MediaWiki.
    """
    caption = alt = None
    for part in parts:
        if part not in options:
            caption = part or None
        elif part.startswith("alt="):
            alt = part[4:].strip()
    return caption, alt


def bare_url(url: str) -> str | None:
    """A url that stands in the text ends before quotes, angle brackets as entities, and punctuation."""
    for ending in ("''", "&lt;", "&gt;"):
        url = url.partition(ending)[0]
    url = url.rstrip(",;.:!?" if "(" in url else ",;.:!?)")
    return url if url and not url.endswith("://") else None


def gallery_files(text: str, namespaces: Namespaces) -> Iterator[tuple[str, str, tuple[str | None, str | None]]]:
    """Of each line of a gallery that names a file: the name as written, the file's title, its caption and alt.

    text: of the gallery, where links and templates were read already.
    """
    for line in text.split("\n"):
        target, *shown = line.split("|")
        name = target.strip()
        prefix, rest = split_prefix(name)
        if rest and ("." in rest if not prefix else namespaces.numbers.get(prefix) == FILE):
            title = normal_title(rest.partition("#")[0], namespaces)
            yield name, title, caption_and_alt([clean_inline(part) for part in shown], namespaces.options)
