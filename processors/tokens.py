"""The marks of wikitext that the scanner stops at."""

from __future__ import annotations

import re
from functools import lru_cache

URL = r"[^\s\[\]<>\"{}|\x00-\x1f\x7f]"
_SCHEMES = (
    "bitcoin ftp ftps geo git gopher http https irc ircs magnet mms news nntp redis sftp sip sips sms ssh svn tel "
    "mailto telnet urn worldwind xmpp"
)
SCHEMES = frozenset(_SCHEMES.split())
# What is between these tags is no wikitext; of the first four readers see it as it is.
VISIBLE = ("nowiki", "pre", "syntaxhighlight", "source")
OPAQUE = (*VISIBLE, "math", "chem", "ce", "timeline", "score", "hiero", "templatedata", "graph", "mapframe", "maplink")
# What is between these is wikitext of its own, and not part of the running text.
WALLS = ("ref", "gallery", "imagemap", "includeonly")
TOKEN = re.compile(
    rf"""\|
    |\[\[(?P<target>[^\[\]{{}}<>|\n]++)(?:\|(?P<shown>[^\[\]{{}}<>|\n]*+))?\]\](?!\])  # most links have nothing within
    |\[\[++|\]\]*+
    |\{{\{{(?P<inside>[^{{}}\[\]<>]++)\}}\}}  # so do most templates
    |\{{\{{++|\}}\}}++
    |\n(?:[ \t:]*+(?:\{{\||\|\}}(?!\}}))|=)
    |<(?:!--|(?P<slash>/?)(?P<tag>(?i:{"|".join(OPAQUE + WALLS)}))(?P<attributes>(?:[\s/][^<>]*+)?)>)
    |\[(?P<url>(?:(?i:[a-z]{{2,10}}:)?//|(?i:mailto|news|tel|geo|urn|sip):){URL}*+)
    |://{URL}++
    """,
    re.VERBOSE,
)
# The numbers of the groups by which the most frequent marks are told: faster than by name.
SIMPLE_LINK = frozenset({TOKEN.groupindex["target"], TOKEN.groupindex["shown"]})
SIMPLE_TEMPLATE = TOKEN.groupindex["inside"]
SCHEME = re.compile(r"(?<![a-zA-Z0-9_])[a-zA-Z]{2,10}\Z")
ATTRIBUTE = re.compile(
    r"""\b(name|group|mode|caption)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'/>]++))""", re.IGNORECASE
)

# A url after its scheme, in the values of a template with nothing within.
FREE_URL = re.compile(rf"://{URL}++")
# The rest of a url where no template, link or table could claim its bars.
URL_WITH_BARS = re.compile(rf"(?:{URL}|\|)*+")


def is_scheme(name: str) -> bool:
    return name.lower() in SCHEMES


@lru_cache(maxsize=64)
def closing(name: str) -> re.Pattern[str]:
    """The tag that ends `<name>`."""
    return re.compile(rf"</{name}\s*+>", re.IGNORECASE)


def attribute_values(attributes: str) -> dict[str, str]:
    """The attributes of a tag that we keep, without the empty ones."""
    values = (
        (match[1].lower(), (match[2] or match[3] or match[4] or "").strip()) for match in ATTRIBUTE.finditer(attributes)
    )
    return {name: value for name, value in values if value}
