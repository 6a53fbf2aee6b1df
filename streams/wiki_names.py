"""Which wikis a simulated world has, how busy each is, and what it can do.

The names are real, so that what a reader knows of a wiki by its name holds here too. Shares of all page changes, by how
fast revision ids rise, over 18.6 changes a second: Commons 5.94 a second (ids 1,078,664,500 of 2025-08-29 and
1,281,056,680 of 2026-09-27), Wikidata 4.87 (2,509,134,105 of 2026-06-22 and 2,550,088,642 of 2026-09-27), enwiki 2.00
(1,319,367,938 of 2025-10-29 and 1,377,038,042 of 2026-09-27). The rest falls as 1/rank from wiki to wiki, by our guess.
27 % of enwiki's article edits are by bots; of the other wikis' it is our guess.

Source: Kafka offsets of page_change and recentchange of 2025-26 (17.8-19.4 and 33-35 a second); page_change and
recentchange events; a capture of enwiki of September 2026; patrol, FlaggedRevs and temporary accounts by Wikimedia's
configuration of August 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from processors import words
from streams.prose import Language
from streams.tongues import LANGUAGES

MAX_WIKIS = 300
SHARES = {"commonswiki": 0.32, "wikidatawiki": 0.26, "enwiki": 0.11}
BOT_SHARES = {"enwiki": 0.27, "wikidatawiki": 0.5, "commonswiki": 0.3}
OTHER_BOT_SHARE = 0.3

# The first come first: a world of three has the three scripts that most often break a reader.
FIRST = ("en", "de", "ja", "ru", "ar", "hi", "wikidata", "commons", "zh", "fr", "es", "it", "pt", "pl", "fa")
_CODES = (
    "en de ja ru ar hi zh fr es it pt pl fa nl sv uk he ko tr id vi cs hu fi no ro el da bg ca sr hr sk lt sl et eu gl "
    "az hy ka kk bn ta te ml mr ur th simple"
)
CODES = tuple(_CODES.split())
FAMILIES = ("wiktionary", "wikisource", "wikiquote", "wikibooks", "wikivoyage", "wikinews")
# Language → whose words it is written in here: those of its script.
WRITTEN_AS = {"uk": "ru", "bg": "ru", "sr": "ru", "kk": "ru", "fa": "ar", "ur": "ar", "mr": "hi"}

ENGLISH = {14: "Category", 6: "File", 10: "Template"}
PATROL = {"fr", "it", "nl", "pt", "zh", "vi", "id", "fa", "he", "no", "cs", "ro", "fi", "ja"}
FLAGGED = {"de", "pl", "ru", "hu", "fi", "uk", "tr", "ar", "ka", "fa", "bn", "id"}
SPECIAL = {
    "wikidata": ("wikidatawiki", "www.wikidata.org"),
    "commons": ("commonswiki", "commons.wikimedia.org"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A wiki. share: of all page changes, before the shares of the chosen wikis are made to add up to 1."""

    wiki: str
    domain: str
    code: str
    share: float
    bot_share: float
    has_patrol: bool
    is_flagged: bool


def names(count: int) -> list[Name]:
    """The first `count` wikis. Raises `ValueError` outside of 1 to 300."""
    if not 1 <= count <= MAX_WIKIS:
        raise ValueError(f"--wikis {count}: 1 to {MAX_WIKIS}")
    rest = [code for code in CODES if code not in FIRST]
    made = [*FIRST, *rest, *(f"{code}.{family}" for family in FAMILIES for code in CODES)]
    ranks = sum(1 / rank for rank in range(1, MAX_WIKIS - len(SHARES) + 1))
    left, found, rank = 1 - sum(SHARES.values()), [], 0
    for name in made[:count]:
        wiki, domain = _addressed(name)
        if wiki in SHARES:
            share = SHARES[wiki]
        else:
            rank += 1
            share = left / rank / ranks
        code = name.partition(".")[0]
        plain = "." not in name
        found.append(
            Name(
                wiki=wiki,
                domain=domain,
                code="en" if name in SPECIAL else code,
                share=share,
                bot_share=BOT_SHARES.get(wiki, OTHER_BOT_SHARE),
                has_patrol=name in SPECIAL or (plain and code in PATROL) or name.endswith("wikivoyage"),
                is_flagged=plain and code in FLAGGED,
            )
        )
    return found


def _addressed(name: str) -> tuple[str, str]:
    if name in SPECIAL:
        return SPECIAL[name]
    code, _, family = name.partition(".")
    return (code + (family or "wiki"), f"{code}.{family or 'wikipedia'}.org")


@lru_cache(maxsize=256)
def language_of(code: str) -> Language:
    """The words of a language, with its own names of namespaces and of the redirect where we know them."""
    language = LANGUAGES.get(WRITTEN_AS.get(code, code), LANGUAGES["en"])
    if code not in words.NAMESPACES or code == language.code:
        return language
    rows = dict(entry.split("=") for entry in words.NAMESPACES[code].split(";"))
    own = {number: rows.get(str(number), english).split("/")[0].capitalize() for number, english in ENGLISH.items()}
    redirect = words.REDIRECTS.get(code, "redirect").split("/")[0]
    spaces = language.namespaces | own
    return replace(language, code=code, namespaces=spaces, redirect=f"#{redirect.upper()} [[%s]]")
