"""The inside of `[[...]]`, of urls and of `<gallery>`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from processors.namespaces import Namespaces, normal_title, split_prefix
from processors.plain_text import clean_inline
from processors.templates import COMMENT
from processors.tokens import is_scheme

NO_TITLE = re.compile(r"[\n<>\[\]]")
# A file's last part that is no caption: sizes and the words of the larger languages.
OPTION = re.compile(
    r"(?:\d*x?\d+ ?px|(?:upright|hochkant|redresse|verticale|alt|link|page|lang|class|thumb|frame|start|end)\b.*"
    r"|thumbnail|framed|frameless|border|left|right|center|centre|none|baseline|sub|super|top|text-top|middle|bottom|text-bottom"
    r"|mini|miniatur|gerahmt|rahmenlos|links|rechts|zentriert|ohne|rand|vignette|cadre|encadré|sans_cadre|gauche|droite"
    r"|centré|néant|miniatura|miniaturadeimagen|mini|izquierda|derecha|centro|ninguno|destra|sinistra|esquerda|direita"
    r"|мини|миниатюра|справа|слева|центр|без|міні|праворуч|ліворуч|מממוזער|ממוזער|שמאל|ימין|مصغر|تصغير|يسار|يمين|縮圖|缩略图"
    r"|右|左|サムネイル)",
    re.IGNORECASE,
)


def link_target(raw: str) -> str | None:
    """What is before the first `|`, without comments; None: the brackets are text."""
    target = COMMENT.sub("", raw) if "<!--" in raw else raw
    if not target.strip() or NO_TITLE.search(target) or ("{" in target and "{{" not in target):
        return None
    return target.strip()


def is_url(target: str) -> bool:
    scheme, slashes, _ = target.partition("://")
    return bool(slashes) and is_scheme(scheme)


def caption(text: str) -> str | None:
    """The plain text of a file's last part, unless that is an option."""
    return text if text and not OPTION.fullmatch(text) else None


def bare_url(url: str) -> str | None:
    """A url that stands in the text ends before quotes, angle brackets as entities, and punctuation."""
    for ending in ("''", "&lt;", "&gt;"):
        url = url.partition(ending)[0]
    url = url.rstrip(",;.:!?" if "(" in url else ",;.:!?)")
    return url if url and not url.endswith("://") else None


def gallery_files(text: str, namespaces: Namespaces) -> Iterator[tuple[int, int, str, str | None]]:
    """Start and end of each line of a gallery that names a file, the file's title, its caption as plain text."""
    at = 0
    for line in text.split("\n"):
        target, _, shown = line.partition("|")
        prefix, rest = split_prefix(target.strip())
        if rest and (prefix in namespaces.file or (not prefix and "." in rest)):
            title = normal_title(rest.partition("#")[0], namespaces)
            yield at, at + len(line), title, clean_inline(shown.rpartition("|")[2]) or None
        at += len(line) + 1
