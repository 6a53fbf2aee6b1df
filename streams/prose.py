"""Made-up wikitext of made-up places in three languages, and the small changes that people make to it.

Every function of a text gives another text; what is chosen comes from the random generator it is handed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

NUMBER = re.compile(r"\d{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One wiki's words.

    In templates `%(place)s` is the page, `%(link)s` a link to another one, `%(n)s` and `%(year)s` numbers.
    places: the first stand from the beginning, the last one is created while the world runs.
    namespaces: local names by number. summaries: an edit's comment by its kind.
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
    nonsense: tuple[str, ...]
    spam: str
    space: str
    namespaces: dict[int, str]
    summaries: dict[str, str]
    users: tuple[str, ...]


Change = Callable[[str, Random, Language, str], str]


def new_page(random: Random, language: Language, place: str) -> str:
    """A whole page: infobox, lead, three to five sections, references and categories."""
    headings = random.sample(language.headings, random.randint(3, 5))
    blocks = [_fill(language.infobox, random, language, place) + "\n" + _fill(language.lead, random, language, place)]
    blocks += [_section(random, language, place, heading) for heading in headings]
    blocks[1] += _fill(language.reference, random, language, place)
    blocks.append(language.references)
    category = language.namespaces[14]
    blocks.append("\n".join(f"[[{category}:{name}]]" for name in random.sample(language.categories, 2)))
    return "\n\n".join(blocks)


def add_sentence(text: str, random: Random, language: Language, place: str) -> str:
    return _after_a_block(text, random, language.space + _sentence(random, language, place))


def add_reference(text: str, random: Random, language: Language, place: str) -> str:
    return _after_a_block(text, random, _fill(language.reference, random, language, place))


def add_link(text: str, random: Random, language: Language, place: str) -> str:
    return _after_a_block(text, random, language.space + _fill(language.see, random, language, place))


def add_section(text: str, random: Random, language: Language, place: str) -> str:
    blocks = text.split("\n\n")
    at = blocks.index(language.references) if language.references in blocks else len(blocks)
    blocks.insert(at, _section(random, language, place, random.choice(language.headings)))
    return "\n\n".join(blocks)


def fix_number(text: str, random: Random, language: Language, place: str) -> str:
    return _other_number(text, random, lambda number: number + random.randint(1, 9))


def falsify_number(text: str, random: Random, language: Language, place: str) -> str:
    return _other_number(text, random, lambda number: number * random.randint(3, 9))


def blank_section(text: str, random: Random, language: Language, place: str) -> str:
    blocks = text.split("\n\n")
    full = [n for n, block in enumerate(blocks) if block.startswith("== ") and "\n" in block]
    full = [n for n in full if blocks[n] != language.references]
    if not full:
        return ""
    at = random.choice(full)
    blocks[at] = blocks[at].partition("\n")[0]
    return "\n\n".join(blocks)


def insert_nonsense(text: str, random: Random, language: Language, place: str) -> str:
    return _after_a_block(text, random, language.space + _nonsense(random, language))


def spam_link(text: str, random: Random, language: Language, place: str) -> str:
    url = f"https://offers-{random.randint(100, 999)}.example/{random.randint(1000, 9999)}"
    return _after_a_block(text, random, f" [{url} {language.spam}]")


def replace_text(text: str, random: Random, language: Language, place: str) -> str:
    return language.space.join(_nonsense(random, language) for _ in range(random.randint(1, 3)))


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
}


def _fill(template: str, random: Random, language: Language, place: str) -> str:
    other = random.choice([name for name in language.places if name != place])
    numbers = {"n": random.randint(120, 9800), "year": random.randint(1620, 1990)}
    return template % {"place": place, "link": f"[[{other}]]", **numbers}


def _sentence(random: Random, language: Language, place: str) -> str:
    return _fill(random.choice(language.sentences), random, language, place)


def _section(random: Random, language: Language, place: str, heading: str) -> str:
    sentences = [_sentence(random, language, place) for _ in range(random.randint(2, 4))]
    return f"== {heading} ==\n" + language.space.join(sentences)


def _nonsense(random: Random, language: Language) -> str:
    return f"{random.choice(language.nonsense)} {random.randint(100, 99999)}"


def _after_a_block(text: str, random: Random, addition: str) -> str:
    """Put it after a paragraph of prose, or at the end where there is none."""
    blocks = text.split("\n\n")
    last_lines = [block.rpartition("\n")[2] for block in blocks]
    prose = [n for n, line in enumerate(last_lines) if line and not line.startswith(("[[", "{{", "==", "<references"))]
    if not prose:
        return text + addition.strip()
    blocks[random.choice(prose)] += addition
    return "\n\n".join(blocks)


def _other_number(text: str, random: Random, other: Callable[[int], int]) -> str:
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    at = random.choice(found)
    return text[: at.start()] + str(other(int(at[0]))) + text[at.end() :]


ENGLISH = Language(
    code="en",
    places=(
        "Wexcombe Hollow",
        "Tarnby Quay",
        "Oldersley",
        "Pennick Fell",
        "Marrow Sound",
        "Hethering",
        "Saltley Ford",
        "Brimwick",
    ),
    spam_page="Best boat offers",
    renamed="%s (Lower Vale)",
    lead="'''%(place)s''' is a town on the river Ember, north of %(link)s.",
    sentences=(
        "The town counted %(n)s inhabitants in %(year)s.",
        "A stone bridge of %(year)s crosses the river below %(place)s.",
        "Most of the %(n)s orchards stand on the slope towards %(link)s.",
        "In %(year)s a fire destroyed %(n)s houses around the market.",
        "The mill of %(place)s ground rye for %(n)s farms.",
        "A narrow railway has carried slate to %(link)s since %(year)s.",
        "About %(n)s pupils attend the school on the hill.",
        "Each autumn %(n)s boats take part in the lantern race.",
        "The library holds %(n)s volumes, among them the town book of %(year)s.",
        "The harbour wall was raised by hand between %(year)s and the following spring.",
    ),
    headings=("History", "Geography", "Economy", "Buildings", "Culture", "Transport", "Nature"),
    infobox="{{Infobox settlement\n| name = %(place)s\n| population = %(n)s\n| established = %(year)s\n}}",
    reference="<ref>{{cite book |last=Quill |first=Tansy |title=Along the Ember |year=%(year)s |page=%(n)s}}</ref>",
    references="== References ==\n{{Reflist}}",
    see="Walkers often continue from %(place)s to %(link)s, %(n)s paces further.",
    categories=("Towns on the Ember", "River ports", "Places with lantern races"),
    redirect="#REDIRECT [[%s]]",
    nonsense=("lol the frogs took over", "asdf asdf qwer", "my cousin is king here", "BANANA BANANA"),
    spam="cheap boats, buy now",
    space=" ",
    namespaces={1: "Talk", 2: "User", 3: "User talk", 4: "Wikipedia", 6: "File", 10: "Template", 14: "Category"},
    summaries={
        "sentence": "added a detail",
        "reference": "added a source",
        "number": "corrected a figure",
        "link": "link",
        "section": "new section",
        "create": "new page",
        "rollback": "Reverted edits by [[User:%s|%s]]",
        "undo": "Undid an edit by [[User:%s|%s]]",
        "manual": "back to the earlier version",
        "repair": "took out the damage",
        "move": "moved page [[%s]] to [[%s]]: clearer title",
        "delete": "no article",
        "undelete": "deleted by mistake",
        "hide": "grossly insulting",
        "block": "vandalism",
    },
    users=("Anwen Thistle", "Corvid and Crumpet", "Morag Penhale", "Slow Ferry", "Wick&Tallow", "Newcomer Ned"),
)

GERMAN = Language(
    code="de",
    places=(
        "Oberwackenbruch",
        "Moorfelde",
        "Klinkenau",
        "Sankt Ebbo",
        "Tiefensolm",
        "Rabenöd",
        "Hinterlüssow",
        "Grauenmühl",
    ),
    spam_page="Günstige Boote",
    renamed="%s (Unterland)",
    lead="'''%(place)s''' ist eine Kleinstadt an der Quelm, südlich von %(link)s.",
    sentences=(
        "Im Jahr %(year)s zählte der Ort %(n)s Einwohner.",
        "Unterhalb von %(place)s überspannt eine Steinbrücke von %(year)s den Fluss.",
        "Die %(n)s Obstgärten liegen meist am Hang in Richtung %(link)s.",
        "Ein Brand zerstörte %(year)s rund um den Markt %(n)s Häuser.",
        "In der Mühle wurde das Getreide von %(n)s Höfen gemahlen.",
        "Seit %(year)s bringt eine Schmalspurbahn Schiefer nach %(link)s.",
        "Etwa %(n)s Kinder besuchen die Schule auf dem Berg.",
        "Am Laternenrennen nehmen jeden Herbst %(n)s Boote teil.",
        "Die Bücherei besitzt %(n)s Bände, darunter das Stadtbuch von %(year)s.",
        "Die Ufermauer wurde ab %(year)s von Hand aufgeschichtet.",
    ),
    headings=("Geschichte", "Geographie", "Wirtschaft", "Bauwerke", "Kultur", "Verkehr", "Natur"),
    infobox="{{Infobox Ort\n|Name = %(place)s\n|Einwohner = %(n)s\n|Gegründet = %(year)s\n}}",
    reference="<ref>{{Literatur |Autor=Jette Federkiel |Titel=Die Quelm entlang |Jahr=%(year)s |Seiten=%(n)s}}</ref>",
    references="== Einzelnachweise ==\n<references />",
    see="Von %(place)s führt ein Weg von %(n)s Schritten nach %(link)s.",
    categories=("Ort an der Quelm", "Flusshafen", "Ort mit Laternenrennen"),
    redirect="#WEITERLEITUNG [[%s]]",
    nonsense=("hihi die Frösche regieren", "asdf jklö asdf", "mein Vetter ist hier König", "KARTOFFEL KARTOFFEL"),
    spam="billige Boote, jetzt kaufen",
    space=" ",
    namespaces={
        1: "Diskussion",
        2: "Benutzer",
        3: "Benutzer Diskussion",
        4: "Wikipedia",
        6: "Datei",
        10: "Vorlage",
        14: "Kategorie",
    },
    summaries={
        "sentence": "ergänzt",
        "reference": "Beleg ergänzt",
        "number": "Zahl berichtigt",
        "link": "verlinkt",
        "section": "neuer Abschnitt",
        "create": "neuer Artikel",
        "rollback": "Änderungen von [[Benutzer:%s|%s]] zurückgesetzt",
        "undo": "Änderung von [[Benutzer:%s|%s]] rückgängig gemacht",
        "manual": "wieder die frühere Fassung",
        "repair": "Schaden behoben",
        "move": "verschob die Seite [[%s]] nach [[%s]]: klarerer Titel",
        "delete": "kein Artikel",
        "undelete": "versehentlich gelöscht",
        "hide": "grob beleidigend",
        "block": "Vandalismus",
    },
    users=("Moorläufer", "Jette Federkiel", "Grüner Kahn", "Alte Schleuse", "Tintenfass & Söhne", "Neuling77"),
)

JAPANESE = Language(
    code="ja",
    places=("霧ノ沢町", "白杉湊", "大鳥越", "月見崎", "古橋野", "青灘村", "狐森町", "雪待峠"),
    spam_page="格安の小舟",
    renamed="%s（下流域）",
    lead="'''%(place)s'''は、霞川に沿った町で、%(link)sの北にある。",
    sentences=(
        "%(year)s年の人口は%(n)s人であった。",
        "%(place)sの下流には%(year)s年に架けられた石橋がある。",
        "%(n)s枚の果樹園の多くは%(link)sに向かう斜面に広がる。",
        "%(year)s年の火事で市場のまわりの%(n)s戸が焼けた。",
        "水車小屋では%(n)s戸の農家の麦を挽いていた。",
        "%(year)s年から%(link)sへ石を運ぶ軽便鉄道が走る。",
        "丘の上の学校には約%(n)s人が通う。",
        "毎年秋の灯籠競漕には%(n)s艘の舟が出る。",
        "図書館は%(year)s年の町史を含む%(n)s冊を所蔵する。",
        "岸の石垣は%(year)s年から手作業で積まれた。",
    ),
    headings=("歴史", "地理", "経済", "建築", "文化", "交通", "自然"),
    infobox="{{基礎情報 町\n|名称 = %(place)s\n|人口 = %(n)s\n|成立 = %(year)s\n}}",
    reference="<ref>{{Cite book |和書 |author=筆野すみれ |title=霞川をたどる |year=%(year)s |page=%(n)s}}</ref>",
    references="== 脚注 ==\n{{Reflist}}",
    see="%(place)sから%(link)sまでは%(n)s歩の道が続く。",
    categories=("霞川の町", "川の港", "灯籠競漕の行われる町"),
    redirect="#転送 [[%s]]",
    nonsense=("かえるの王国ばんざい", "あああああ", "ここはぼくのいとこの国", "バナナバナナ"),
    spam="小舟が安い、今すぐ購入",
    space="",
    namespaces={
        1: "ノート",
        2: "利用者",
        3: "利用者‐会話",
        4: "Wikipedia",
        6: "ファイル",
        10: "テンプレート",
        14: "カテゴリ",
    },
    summaries={
        "sentence": "加筆",
        "reference": "出典を追加",
        "number": "数値を修正",
        "link": "リンク",
        "section": "節を追加",
        "create": "新しいページ",
        "rollback": "[[利用者:%s|%s]]による編集を差し戻し",
        "undo": "[[利用者:%s|%s]]による編集を取り消し",
        "manual": "以前の版に戻す",
        "repair": "荒らしの部分を除去",
        "move": "ページ「[[%s]]」を「[[%s]]」に移動：分かりやすい名前",
        "delete": "記事ではない",
        "undelete": "誤って削除",
        "hide": "ひどい侮辱",
        "block": "荒らし",
    },
    users=("霞のわたし舟", "筆野すみれ", "あさもや", "石垣職人", "灯籠番", "はじめての人"),
)
