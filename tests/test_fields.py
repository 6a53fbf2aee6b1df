"""What the scanner finds beyond links and templates: infoboxes, tables, lists, tags, in the words of each wiki."""

from __future__ import annotations

from typing import Any

import pytest

from processors import words
from processors.found import Scan
from processors.infobox import is_infobox
from processors.lists import take_lists
from processors.maintenance import NAMES, kind_of
from processors.namespaces import LANGUAGES, namespaces_from, namespaces_of
from processors.plain_text import MARK
from processors.scan import scan
from schemas.enriched import Link, Media, Redirect
from schemas.shapes import (
    Cell,
    Gallery,
    InfoboxValue,
    KnownBy,
    LanguageLink,
    ListItem,
    Maintenance,
    MaintenanceTag,
    Table,
    WikiList,
)


def read(text: str, wiki: str = "enwiki") -> Scan:
    return scan(text, namespaces_of(wiki))


# Words of the wikis


def test_a_link_has_the_number_of_its_namespace_and_none_where_nobody_knows_it() -> None:
    numbers = [
        link.namespace for link in read("[[a]] [[Talk:b]] [[Portal:c]] [[:File:d.jpg]] [[wikt:e]] [[2001: f]]").links
    ]
    assert numbers == [0, 1, 100, 6, None, 0]
    assert [x.namespace for x in read("[[Diskussion:a]] [[BD:b]] [[Portal Diskussion:c]]", "dewiki").links] == [
        1,
        3,
        None,
    ]
    assert [x.namespace for x in read("[[Участница:a]] [[Википедия:b]] [[ВП:c]]", "ruwiki").links] == [2, 4, 4]


def test_a_sister_project_has_the_words_of_its_language_and_its_own_name() -> None:
    assert [x.namespace for x in read("[[Wiktionary:a]] [[Vorlage:b]]", "dewiktionary").links] == [4, 10]


@pytest.mark.parametrize("table", ["NAMESPACES", "REDIRECTS", "FUNCTIONS", "OPTIONS"])
def test_every_row_of_the_shipped_table_is_of_a_wikipedia(table: str) -> None:
    languages = {language for row in getattr(words, table) for language in row.split()}
    assert len(languages) > 150
    assert languages <= LANGUAGES


def test_every_wikipedia_knows_a_category_a_file_a_template_and_a_redirect() -> None:
    for language in LANGUAGES:
        namespaces = namespaces_of(f"{language.replace('-', '_')}wiki")
        assert {14, 6, 10, -2, 4} <= set(namespaces.numbers.values())
        assert "redirect" in namespaces.redirect


@pytest.mark.parametrize(
    ("wiki", "text"),
    [("frwiki", "#REDIRECTION [[x]]"), ("fawiki", "#تغییر_مسیر [[x]]"), ("be_x_oldwiki", "#перанакіраваньне [[x]]"),
     ("zh_min_nanwiki", "#REDIRECT [[x]]"), ("alswiki", "#WEITERLEITUNG [[x]]")],
)  # fmt: skip
def test_a_redirect_is_known_in_the_words_of_small_wikis_too(wiki: str, text: str) -> None:
    assert read(text, wiki).redirect == Redirect(title="X")


def test_a_function_in_the_words_of_a_wiki_keeps_its_value_as_a_parameter() -> None:
    found = read("{{СОРТИРОВКА_ПО_УМОЛЧАНИЮ:Несс}}{{INITIAL_GROSS:x}}", "ruwiki").templates
    assert (found[0].name, found[0].positional) == ("СОРТИРОВКА_ПО_УМОЛЧАНИЮ", ("Несс",))


SITEINFO: dict[str, Any] = {
    "query": {
        "general": {"case": "case-sensitive", "lang": "en"},
        "namespaces": {
            "0": {"id": 0, "name": ""},
            "14": {"id": 14, "name": "Kin", "canonical": "Category"},
            "6": {"id": 6, "*": "Eikon", "canonical": "File"},
            "120": {"id": 120, "name": "Scroll", "canonical": "Scroll"},
        },
        "namespacealiases": [{"id": 120, "alias": "S"}],
        "magicwords": [
            {"name": "redirect", "aliases": ["#GOTO"]},
            {"name": "img_thumbnail", "aliases": ["tiny"]},
            {"name": "img_width", "aliases": ["$1pt"]},
            {"name": "defaultsort", "aliases": ["SORT:"]},
        ],
        "interwikimap": [{"prefix": "xx", "language": "Xish"}, {"prefix": "wikt"}],
    }
}


def test_the_words_that_a_wiki_states_itself_win() -> None:
    namespaces = namespaces_from("enwiki", SITEINFO)
    found = scan("[[Kin:a]][[Eikon:b.jpg|tiny|20pt|c]][[S:d]][[xx:e]][[f]]{{SORT:g}}", namespaces)
    assert [c.title for c in found.categories] == ["a"]
    assert found.media == (Media(title="b.jpg", caption="c"),)
    assert found.links == (Link(title="S:d", namespace=120), Link(title="f"))
    assert found.language_links == (LanguageLink(language="xx", title="e"),)
    assert found.templates[0].positional == ("g",)
    assert scan("#goto [[x]]", namespaces).redirect == Redirect(title="x")


def test_what_siteinfo_leaves_out_is_taken_from_the_table_and_what_is_none_is_refused() -> None:
    assert namespaces_from("dewiki", {"query": {}}).numbers["datei"] == 6
    for wrong in ({}, {"query": {"namespaces": {"0": {"name": "x"}}}}, {"query": {"magicwords": [1]}}, {"query": 3}):
        with pytest.raises(ValueError, match="no siteinfo"):
            namespaces_from("dewiki", wrong)


# Files and galleries


def test_the_caption_of_a_file_is_its_last_part_that_is_no_option() -> None:
    assert read("[[File:a.jpg|A lake|thumb|alt=Water|upright=1.2|250px]]").media == (
        Media(title="A.jpg", caption="A lake", alt="Water"),
    )
    assert read("[[Datei:a.jpg|mini|hochkant=1.2|links|Ein See]] [[Datei:b.jpg|mini]]", "dewiki").media == (
        Media(title="A.jpg", caption="Ein See"),
        Media(title="B.jpg"),
    )


def test_a_gallery_has_mode_and_caption_and_its_files_name_it() -> None:
    found = read('<gallery mode="packed" caption="Lakes">\na.jpg|alt=x|Loch [[Ness|N]]\n</gallery>[[File:b.jpg]]')
    assert found.galleries == (Gallery(mode="packed", caption="Lakes"),)
    assert [(m.title, m.alt, m.gallery) for m in found.media] == [("A.jpg", "x", 0), ("B.jpg", None, None)]


def test_the_caption_of_a_file_in_a_gallery_is_plain_text_and_its_place_is_its_line() -> None:
    text = (
        "<gallery>\n<!-- first -->\nFile:a.jpg|''A'' [[lake|loch]] and [http://a.org more]<ref>r</ref>{{cn|\n}}\n"
        "b.jpg|[[One]]\n</gallery>"
    )
    found = read(text)
    assert [(m.title, m.caption) for m in found.media] == [("A.jpg", "A loch and more"), ("B.jpg", "One")]
    places = [("\n" + text)[a:b] for a, b, kind, _ in found.parts if kind == "Media"]
    assert [place[:6] for place in places] == ["File:a", "b.jpg|"]


# Infoboxes


def test_an_infobox_has_the_plain_text_of_its_values_in_their_order() -> None:
    found = read(
        "{{Infobox lake\n| name = Loch ''Ness''\n| depth = {{convert|227|m}}\n"
        "| in = [[Scotland|Alba]]<ref>r</ref>\n| x =\n}}"
    )
    (box,) = found.infoboxes
    assert (box.template, box.known_by) == (0, KnownBy.NAME)
    assert box.values == (
        InfoboxValue(name="name", text="Loch Ness"),
        InfoboxValue(name="depth", text=None),
        InfoboxValue(name="in", text="Alba"),
    )


def test_an_infobox_with_nothing_nested_is_one_too() -> None:
    (box,) = read("{{Infobox lake|name=Ness|area=}}").infoboxes
    assert box.values == (InfoboxValue(name="name", text="Ness"),)
    assert [len(b.values) for b in read("{{Infobox lake}}").infoboxes] == [0]


@pytest.mark.parametrize(
    "name",
    ["Infobox person", "Ficha de lago", "Карточка озера", "Hộp thông tin hồ", "Kişi bilgi kutusu", "인물 정보",
     "Info/Lago", "Személy infobox", "Tietolaatikko", "جعبه اطلاعات دریاچه", "صندوق معلومات بحيرة", "ინფოდაფა"],
)  # fmt: skip
def test_an_infobox_is_known_by_a_word_in_its_name_in_many_languages(name: str) -> None:
    assert is_infobox(name)
    assert not is_infobox("Cite web")
    assert not is_infobox("Informal")


def test_where_its_name_says_nothing_an_infobox_is_known_by_its_shape_before_the_first_text() -> None:
    box = "{{Qqq\n|a=1\n|b=[[x]]\n|c=3\n|d=4\n}}"
    assert [b.known_by for b in read("{{hatnote|x}}\n" + box + "\nText." + box).infoboxes] == [KnownBy.SHAPE]
    assert read("Text.\n" + box).infoboxes == ()
    assert read("{{Qqq|a=1|b=2|c=3|d=4}}").infoboxes == ()


# Tables and lists


def test_a_table_has_caption_rows_and_cells_with_their_spans() -> None:
    text = (
        '{| class="x"\n|+ style="y" | The '
        "lakes"
        '\n! Name !! colspan="2" | [[Depth|d]]\n|-\n| [[Ness]] || rowspan=3 | a\n b\n|-\n|}'
    )
    assert read(text).tables == (
        Table(
            caption="The lakes",
            rows=(
                (Cell("Name", True), Cell("d", True, 2)),
                (Cell("Ness"), Cell("a b", False, 1, 3)),
            ),
        ),
    )


def test_a_nested_table_is_a_table_of_its_own_and_not_in_the_cell_around_it() -> None:
    found = read("{|\n| a\n{|\n| b\n|}\n| c\n|}").tables
    assert [[cell.text for row in table.rows for cell in row] for table in found] == [["a", "c"], ["b"]]


def test_lists_have_their_marks_and_their_places_in_the_plain_text() -> None:
    found = read("Lead\n* one\n*# ''two''\n\n== H ==\nx\n; term\n: what\nend")
    assert [[item.marks for item in each.items] for each in found.lists] == [["*", "*#"], [";", ":"]]
    texts = [found.plain_text[item.start : item.end] for each in found.lists for item in each.items]
    assert texts == ["one", "two", "term", "what"]
    assert MARK not in found.plain_text


def test_the_mark_of_lists_in_a_page_makes_no_list() -> None:
    assert read(f"{MARK}*{MARK}x").lists == ()
    assert take_lists("a", 3) == ("a", [])
    assert take_lists(f"{MARK}#{MARK}a", 3)[1] == [WikiList(items=(ListItem("#", 3, 4),))]


# Tags and comments


def test_maintenance_templates_say_what_they_ask_for_in_the_words_of_their_wiki() -> None:
    found = read("{{Belege fehlen|1=x}} a {{Citation needed}} {{Lückenhaft}} {{Cite web}}", "dewiki")
    assert found.maintenance == (
        MaintenanceTag(kind=Maintenance.CITATION, name="Belege fehlen", template=0),
        MaintenanceTag(kind=Maintenance.CITATION, name="Citation needed", template=1),
        MaintenanceTag(kind=Maintenance.CLEANUP, name="Lückenhaft", template=2),
    )


def test_every_name_of_a_maintenance_template_is_found_by_its_language() -> None:
    for language, kinds in NAMES.items():
        for names in kinds.values():
            assert all(name and kind_of(name.capitalize(), language) is not None for name in names.split("/")), language


def test_comments_are_kept_and_are_no_text() -> None:
    found = read("a<!-- b --> c <!--d")
    assert (found.comments, found.plain_text) == (("b", "d"), "a c")


def test_a_reference_names_the_templates_that_stand_in_it_and_not_those_within_them() -> None:
    found = read("{{x|<ref>{{cite|a={{y}}}} p. 3 {{z}}</ref>}}<ref>none</ref>")
    names = [[found.templates[n].name for n in r.citations] for r in found.references]
    assert names == [["Cite", "Z"], []]
    assert [r.text for r in found.references] == ["p. 3", "none"]
