"""Made-up items of the simulated Wikidata: JSON, block by block, and what people make of them.

A text is a tuple of blocks like that of a page (`streams.prose`); empty lines between them are as good JSON as none.
"""

from __future__ import annotations

from random import Random

import orjson

from streams.prose import Language, Text


def new_item(random: Random, language: Language, title: str) -> Text:
    head = _text({"type": "item", "id": title})[:-1] + ","
    label = _term(language, random.choice(language.places))
    told = _term(language, random.choice(language.categories))
    claim = _claim(random, title)
    return (
        head,
        f'"labels":{label},',
        f'"descriptions":{told},',
        '"aliases":{},',
        f'"claims":{claim},',
        '"sitelinks":{}}',
    )


def edited(text: Text, random: Random, language: Language, title: str) -> Text:
    """Another statement."""
    return (*text[:4], f'"claims":{_claim(random, title)},', text[5])


def spoiled(text: Text, random: Random, language: Language, title: str) -> Text:
    """A label, a description or all statements are not what they were."""
    shout = f"{random.choice(language.nonsense)} {random.randint(100, 99999)}"
    chosen = random.randrange(3)
    if chosen == 2:
        return (*text[:2], f'"descriptions":{_term(language, shout)},', text[3], '"claims":{},', text[5])
    block = f'"{("labels", "descriptions")[chosen]}":{_term(language, shout)},'
    return (*text[: 1 + chosen], block, *text[2 + chosen :])


def _term(language: Language, value: str) -> str:
    return _text({language.code: {"language": language.code, "value": value}})


def _claim(random: Random, title: str) -> str:
    made, amount = f"P{1000 + int(random.random() * 60)}", int(random.random() * 1e9)
    value = {"value": {"amount": f"+{amount}", "unit": "1"}, "type": "quantity"}
    snak = {"snaktype": "value", "property": made, "datavalue": value, "datatype": "quantity"}
    statement = {"mainsnak": snak, "type": "statement", "id": f"{title}${amount:x}", "rank": "normal"}
    return _text({made: [statement]})


def _text(doc: object) -> str:
    return orjson.dumps(doc).decode()
