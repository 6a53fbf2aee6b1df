"""Made-up wikitext of made-up places, and the small changes, good and bad, that people make to it.

A text is a tuple of blocks with an empty line between them. Every change gives another text that shares the blocks it
leaves alone; what is chosen comes from the random generator it is handed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

NUMBER = re.compile(r"\d{3,}")
LINK = re.compile(r"\[\[([^\]|]+)\]\]")
# A page of more blocks than this is shortened before something is added.
MAX_BLOCKS = 14
MAX_BLOCK_CHARACTERS = 1500
FLOOD = 12

Text = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One wiki's words.

    In templates `%(place)s` is the page, `%(link)s` a link to another one, `%(n)s` and `%(year)s` numbers.
    places: the stems of titles. namespaces: local names by number. summaries: an edit's comment by its kind.
    users: sysop, two rollbackers, two regulars and a newcomer.
    """

    code: str
    places: tuple[str, ...]
    spam_page: str
    renamed: str
    lead: str
    sentences: tuple[str, ...]
    headings: tuple[str, ...]
    infobox: str
    reference: str
    references: str
    see: str
    categories: tuple[str, ...]
    redirect: str
    insult: str
    nonsense: tuple[str, ...]
    spam: str
    space: str
    namespaces: dict[int, str]
    summaries: dict[str, str]
    users: tuple[str, ...]


Change = Callable[[Text, Random, Language, str], Text]


def joined(text: Text) -> str:
    return "\n\n".join(text)


def new_page(random: Random, language: Language, place: str) -> Text:
    """A whole article: infobox and lead, three to five sections, references and categories."""
    headings = random.sample(language.headings, random.randint(3, 5))
    sections = [_section(random, language, place, heading) for heading in headings]
    sections[0] += _fill(language.reference, random, language, place)
    category = language.namespaces[14]
    lead = _fill(language.infobox, random, language, place) + "\n" + _fill(language.lead, random, language, place)
    categories = "\n".join(f"[[{category}:{name}]]" for name in random.sample(language.categories, 2))
    return (lead, *sections, language.references, categories)


def other_page(random: Random, language: Language, title: str, namespace: int) -> Text:
    """A page that is no article: of a talk, a user, a template or a category."""
    name = title.partition(":")[2] or title
    if namespace == 10:
        body = _sentence(random, language, name)
        return (
            f"<includeonly>'''{{{{{{1|{name}}}}}}}''' {body}</includeonly><noinclude>{{{{Documentation}}}}</noinclude>",
        )
    if namespace == 14:
        return (
            _sentence(random, language, name),
            f"[[{language.namespaces[14]}:{random.choice(language.categories)}]]",
        )
    said = [_section(random, language, name, random.choice(language.headings)) for _ in range(random.randint(1, 3))]
    signed = f" [[{language.namespaces[2]}:{language.users[3]}|{language.users[3]}]]"
    return tuple(section + signed for section in said)


# Good changes.


def add_sentence(text: Text, random: Random, language: Language, place: str) -> Text:
    return _after_a_block(text, random, language.space + _sentence(random, language, place))


def add_reference(text: Text, random: Random, language: Language, place: str) -> Text:
    return _after_a_block(text, random, _fill(language.reference, random, language, place))


def add_link(text: Text, random: Random, language: Language, place: str) -> Text:
    return _after_a_block(text, random, language.space + _fill(language.see, random, language, place))


def add_section(text: Text, random: Random, language: Language, place: str) -> Text:
    if len(text) > MAX_BLOCKS:
        return shorten(text, random, language, place)
    at = text.index(language.references) if language.references in text else len(text)
    return (*text[:at], _section(random, language, place, random.choice(language.headings)), *text[at:])


def fix_number(text: Text, random: Random, language: Language, place: str) -> Text:
    return _other_number(text, random, lambda number: number + random.randint(1, 9))


def shorten(text: Text, random: Random, language: Language, place: str) -> Text:
    """Tell a section anew, in fewer words."""
    at = _chosen(text, random)
    heading = text[at].partition("\n")[0] if text[at].startswith("== ") else ""
    return _with(text, at, (heading + "\n" if heading else "") + _sentence(random, language, place))


# Vandalism.


def blank_section(text: Text, random: Random, language: Language, place: str) -> Text:
    full = [n for n, block in enumerate(text) if block.startswith("== ") and "\n" in block]
    full = [n for n in full if text[n] != language.references]
    if not full:
        return ("",)
    at = random.choice(full)
    return _with(text, at, text[at].partition("\n")[0])


def insert_nonsense(text: Text, random: Random, language: Language, place: str) -> Text:
    return _after_a_block(text, random, language.space + _nonsense(random, language))


def falsify_number(text: Text, random: Random, language: Language, place: str) -> Text:
    return _other_number(text, random, lambda number: number * random.randint(3, 9))


def spam_link(text: Text, random: Random, language: Language, place: str) -> Text:
    url = f"https://offers-{random.randint(100, 999)}.example/{random.randint(1000, 9999)}"
    return _after_a_block(text, random, f" [{url} {language.spam}]")


def replace_text(text: Text, random: Random, language: Language, place: str) -> Text:
    return (language.space.join(_nonsense(random, language) for _ in range(random.randint(1, 3))),)


def insult(text: Text, random: Random, language: Language, place: str) -> Text:
    return _after_a_block(text, random, language.space + language.insult + "!" * random.randint(1, 9))


def remove_block(text: Text, random: Random, language: Language, place: str) -> Text:
    """Take a whole section away, heading and all."""
    at = random.randrange(len(text))
    return text[:at] + text[at + 1 :] if len(text) > 1 else ("",)


def flood(text: Text, random: Random, language: Language, place: str) -> Text:
    shout = _nonsense(random, language).upper() + " "
    return _with(text, 0, text[0] + "\n" + shout * FLOOD)


def hijack_link(text: Text, random: Random, language: Language, place: str) -> Text:
    """Lead a link elsewhere and leave what readers see of it."""
    found = [(n, match) for n, block in enumerate(text) for match in LINK.finditer(block) if ":" not in match[1]]
    if not found:
        return spam_link(text, random, language, place)
    at, match = random.choice(found)
    elsewhere = f"[[{language.spam_page} {random.randint(1, 999)}|{match[1]}]]"
    return _with(text, at, text[at][: match.start()] + elsewhere + text[at][match.end() :])


def break_markup(text: Text, random: Random, language: Language, place: str) -> Text:
    """Leave a template, a table or a comment open."""
    at = random.randrange(len(text))
    opened = random.choice(("{{", "{| class=", "<!-- ", "<ref>", "''''' [["))
    return _with(text, at, f"{opened}{random.randint(10, 9999)} {text[at]}")


GOOD: dict[str, Change] = {
    "sentence": add_sentence,
    "reference": add_reference,
    "number": fix_number,
    "link": add_link,
    "section": add_section,
}
VANDALISM: dict[str, Change] = {
    "blank": blank_section,
    "nonsense": insert_nonsense,
    "falsify": falsify_number,
    "spam": spam_link,
    "replace": replace_text,
    "insult": insult,
    "remove": remove_block,
    "flood": flood,
    "hijack": hijack_link,
    "markup": break_markup,
}


# What is put together.


def _fill(template: str, random: Random, language: Language, place: str) -> str:
    other = random.choice(language.places)
    return template % {
        "place": place,
        "link": f"[[{other}]]",
        "n": int(120 + random.random() * 9700),
        "year": int(1620 + random.random() * 370),
    }


def _sentence(random: Random, language: Language, place: str) -> str:
    return _fill(random.choice(language.sentences), random, language, place)


def _section(random: Random, language: Language, place: str, heading: str) -> str:
    sentences = [_sentence(random, language, place) for _ in range(random.randint(2, 4))]
    return f"== {heading} ==\n" + language.space.join(sentences)


def _nonsense(random: Random, language: Language) -> str:
    return f"{random.choice(language.nonsense)} {random.randint(100, 99999)}"


def _with(text: Text, at: int, block: str) -> Text:
    return (*text[:at], block, *text[at + 1 :])


def _chosen(text: Text, random: Random) -> int:
    """A block of prose, or any where none is found soon."""
    for _ in range(4):
        at = int(random.random() * len(text))
        block = text[at]
        last = block[block.rfind("\n") + 1 :]
        if last and not last.startswith(("[[", "{{", "==", "<references")):
            break
    return at


def _after_a_block(text: Text, random: Random, addition: str) -> Text:
    at = _chosen(text, random)
    block = text[at]
    if len(block) > MAX_BLOCK_CHARACTERS:
        block = block[: block.find("\n") + 1]
    # A heading, a list of categories or a template keeps its line.
    last = block[block.rfind("\n") + 1 :]
    apart = "\n" if last.startswith(("[[", "{{", "==", "<references")) else ""
    return _with(text, at, block + (apart + addition.strip() if apart else addition))


def _other_number(text: Text, random: Random, other: Callable[[int], int]) -> Text:
    for _ in range(4):
        at = int(random.random() * len(text))
        found = NUMBER.search(text[at])
        if found:
            # Bounded, so that vandals do not make numbers grow for ever.
            number = str(other(int(found[0][:6])))
            return _with(text, at, text[at][: found.start()] + number + text[at][found.end() :])
    return text
