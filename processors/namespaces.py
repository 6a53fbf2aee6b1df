"""How a wiki spells its namespaces, redirects, functions and options of files, and how its titles are written.

From the shipped table (`words`), by the language in the wiki's name, or from the wiki's own siteinfo where that is at
hand. English names work on every wiki.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from processors import words

MEDIA, TEMPLATE, FILE, CATEGORY = -2, 10, 6, 14
_ENGLISH = (
    "-2=media;-1=special;1=talk;2=user;3=user talk;4=project;5=project talk;6=file/image;"
    "7=file talk/image talk;8=mediawiki;9=mediawiki talk;10=template;11=template talk;12=help;13=help talk;14=category;"
    "15=category talk;100=portal;101=portal talk;118=draft;119=draft talk;710=timedtext;711=timedtext talk;828=module;"
    "829=module talk;2300=gadget;2301=gadget talk;2302=gadget definition;2303=gadget definition talk;2600=topic"
)
# Wikis whose own namespaces their language does not tell.
_OWN = {
    "commonswiki": "4=commons;5=commons talk;100=creator;102=timedtext;106=institution;460=campaign;486=data",
    "wikidatawiki": "4=wikidata;5=wikidata talk;120=property;121=property talk;146=lexeme;640=entityschema",
    "metawiki": "4=meta;5=meta talk;200=grants;202=research;206=iegcom;208=programs",
    "enwiktionary": "100=appendix;106=rhymes;110=thesaurus;114=citations;116=sign gloss;118=reconstruction",
    "enwikisource": "102=author;104=page;106=index;114=translation",
}
# Prefixes of other wikis: no namespace of this one.
_ELSEWHERE = (
    "b c commons d doi foundation incubator m mail meta mw n phab q rfc s species toolforge toollabs v voy w wikibooks "
    "wikidata wikinews wikipedia wikiquote wikisource wikiversity wikivoyage wikt wiktionary wmf"
)
_FUNCTIONS = (
    "anchorencode canonicalurl filepath formatnum fullurl gender grammar int lc lcfirst localurl msg msgnw ns nse "
    "padleft padright plural raw safesubst subst uc ucfirst urlencode"
)
_OPTIONS = (
    "alt=$1/baseline/border/bottom/center/centre/class=$1/frame/framed/enframed/frameless/lang=$1/left/link=$1/"
    "thumbnail=$1/thumb=$1/middle/none/page=$1/page $1/right/sub/super/sup/text-bottom/text-top/thumb/thumbnail/top/"
    "upright/upright=$1/upright $1/$1px/$1 px/lossy=$1/start=$1/end=$1/thumbtime=$1/muted/loop/disablecontrols=$1"
)
# Prefixes of language links: a page in another Wikipedia, shown beside the page and not in it.
_LANGUAGES = (
    "aa ab ace ady af ak als am an ang ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg bcl be "
    "be-tarask be-x-old bg bh bi bjn bm bn bo bpy br bs bug bxr ca cbk-zam cdo ce ceb ch cho chr chy ckb co cr crh cs "
    "csb cu cv cy da de din diq dsb dty dv dz ee el eml en eo es et eu ext fa ff fi fiu-vro fj fo fr frp frr fur fy ga "
    "gag gan gcr gd gl glk gn gom gor got gu gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia id ie ig ii ik ilo "
    "inh io is it iu ja jam jbo jv ka kaa kab kbd kbp kg ki kj kk kl km kn ko koi kr krc ks ksh ku kv kw ky la lad lb "
    "lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv mad mai map-bms mdf mg mh mhr mi min mk ml mn mnw mr mrj ms mt "
    "mus mwl my myv mzn na nah nap nds nds-nl ne new ng nl nn no nb nov nqo nrm nso nv ny oc olo om or os pa pag pam "
    "pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt qu rm rmy rn ro roa-rup roa-tara ru rue rw sa sah sat sc scn sco "
    "sd se sg sh shi shn si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw szl szy ta tcy te tet tg th ti "
    "tk tl tn to tpi tr ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo wa war wo wuu xal xh xmf yi yo za zea "
    "zh zh-classical zh-min-nan zh-yue zu"
)
LANGUAGES = frozenset({*_LANGUAGES.split(), *words.NAMESPACES, *words.REDIRECTS})
# Wikis that are in no language show no language links beside a page.
_MULTILINGUAL = frozenset({"commonswiki", "wikidatawiki", "metawiki", "mediawikiwiki", "specieswiki"})


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand in `[[File:...|here]]` and is no caption. Words as they are; of the others what their value has
    before or behind it."""

    words: frozenset[str]
    before: tuple[str, ...]
    behind: tuple[str, ...]

    def __contains__(self, text: str) -> bool:
        return text in self.words or text.startswith(self.before) or (text.endswith(self.behind) and _is_size(text))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Namespaces:
    """numbers: prefix in lower case → number of the namespace, None where only the wiki knows it. functions: magic
    words with a value after a colon. redirect: in lower case, without `#`. capital_links: the first letter of a title
    has no case. languages: prefixes of links that are shown beside the page and not in it."""

    language: str
    numbers: Mapping[str, int | None]
    redirect: frozenset[str]
    functions: frozenset[str]
    options: Options
    capital_links: bool = True
    languages: frozenset[str] = LANGUAGES


@lru_cache(maxsize=2048)
def namespaces_of(wiki: str) -> Namespaces:
    """The spellings of a wiki, by the language in its name: `dewiki`, `frwiktionary`, `commonswiki`."""
    language, family = language_of(wiki), wiki[wiki.find("wik") :] if "wik" in wiki else "wiki"
    numbers: dict[str, int | None] = dict.fromkeys(_ELSEWHERE.split())
    name = "wikipedia" if family == "wiki" else family
    own = f"4={name};5={name} talk"
    for row in (_ENGLISH, own, words.NAMESPACES.get(language, ""), _OWN.get(wiki, "")):
        numbers |= _numbers(row)
    return Namespaces(
        language=language,
        numbers=numbers,
        redirect=frozenset(_split(words.REDIRECTS.get(language, ""))) | {"redirect"},
        functions=frozenset(_FUNCTIONS.split()) | frozenset(_split(_rows("FUNCTIONS").get(language, ""))),
        options=_options([*_split(_OPTIONS), *_split(_rows("OPTIONS").get(language, ""))]),
        capital_links=family != "wiktionary" and wiki != "jbowiki",
        languages=frozenset() if wiki in _MULTILINGUAL else LANGUAGES,
    )


def has_words(wiki: str) -> bool:
    """Whether the shipped table knows how the wiki spells things; otherwise `namespaces_of` has English only.

    >>> has_words("frwiktionary"), has_words("wikidatawiki"), has_words("frenchwiki")
    (True, True, False)
    """
    return language_of(wiki) in LANGUAGES or wiki in _OWN or wiki in _MULTILINGUAL


def namespaces_from(wiki: str, siteinfo: Mapping[str, Any]) -> Namespaces:
    """The spellings that a wiki itself states.

    siteinfo: what its API answers to `action=query&meta=siteinfo&siprop=general|namespaces|namespacealiases|magicwords|
    interwikimap`, in either format version; what is absent is taken from the table. Raises `ValueError` if it is
    something else.
    """
    shipped = namespaces_of(wiki)
    try:
        query = siteinfo["query"]
        stated = dict(_stated(query))
        numbers = {**dict.fromkeys(_ELSEWHERE.split()), **stated} if stated else shipped.numbers
        magic = {word["name"]: [str(alias) for alias in word["aliases"]] for word in query.get("magicwords", ())}
        options = [alias for name, aliases in magic.items() if name.startswith("img_") for alias in aliases]
        valued = [alias[:-1] for aliases in magic.values() for alias in aliases if alias.endswith(":")]
        languages = {str(row["prefix"]) for row in query.get("interwikimap", ()) if row.get("language")}
        case = query.get("general", {}).get("case")
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ValueError(f"no siteinfo: {exc!r}") from exc
    return Namespaces(
        language=shipped.language,
        numbers=numbers,
        redirect=frozenset(word.lstrip("#").lower() for word in magic.get("redirect", ())) or shipped.redirect,
        functions=shipped.functions | frozenset(valued),
        options=_options([*_split(_OPTIONS), *options]) if options else shipped.options,
        capital_links=shipped.capital_links if case is None else case == "first-letter",
        languages=(frozenset(languages) or shipped.languages) if shipped.languages else shipped.languages,
    )


def _stated(query: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    for space in query.get("namespaces", {}).values():
        for name in (space.get("name", space.get("*")), space.get("canonical")):
            if name:
                yield str(name).lower(), int(space["id"])
    for alias in query.get("namespacealiases", ()):
        yield str(alias.get("alias", alias.get("*"))).lower(), int(alias["id"])


def language_of(wiki: str) -> str:
    """The language code in a wiki's name.

    >>> language_of("zh_min_nanwiki"), language_of("frwiktionary"), language_of("commonswiki")
    ('zh-min-nan', 'fr', 'commons')
    """
    return wiki.partition("wik")[0].replace("_", "-")


def _numbers(row: str) -> dict[str, int | None]:
    numbers: dict[str, int | None] = {}
    for entry in row.split(";") if row else ():
        number, _, names = entry.partition("=")
        numbers |= dict.fromkeys(names.split("/"), None if number == "?" else int(number))
    return numbers


@cache
def _rows(table: str) -> dict[str, str]:
    rows: Mapping[str, str] = getattr(words, table)
    return {language: row for languages, row in rows.items() for language in languages.split()}


def _split(row: str) -> list[str]:
    return row.split("/") if row else []


def _options(options: Iterable[str]) -> Options:
    plain, before, behind = set(), set(), set()
    for option in options:
        head, mark, tail = option.partition("$1")
        if not mark:
            plain.add(option)
        elif head:
            before.add(head)
        else:
            behind.add(tail)
    return Options(words=frozenset(plain), before=tuple(sorted(before)), behind=tuple(sorted(behind)))


def _is_size(text: str) -> bool:
    """`250px`, `x200px`, `250x200 px`: begins with a size."""
    return text[:1].isdigit() or (text[:1] == "x" and text[1:2].isdigit())


def normal_title(raw: str, namespaces: Namespaces) -> str:
    """A title as MediaWiki keeps it: single spaces for underscores, trimmed, first letter upper.

    >>> normal_title("_foo__bar ", namespaces_of("enwiki"))
    'Foo bar'
    """
    title = " ".join(raw.replace("_", " ").split()) if "_" in raw or "  " in raw else raw.strip()
    if title and namespaces.capital_links and not title[0].isupper():
        upper = title[0].upper()
        # MediaWiki changes one letter into one letter: ß stays.
        title = (upper if len(upper) == 1 else title[0]) + title[1:]
    return title


def split_prefix(title: str) -> tuple[str, str]:
    """Prefix in lower case with spaces, and the rest; prefix "" where there is no colon."""
    prefix, colon, rest = title.partition(":")
    return (prefix.replace("_", " ").strip().lower(), rest.strip()) if colon else ("", title)
