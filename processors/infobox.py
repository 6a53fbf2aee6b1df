"""Which templates are infoboxes, in every language.

By a word in the name, where there is one; else by shape: a template with named values on lines of their own that stands
before the first text of the page. The words are those of wtf_wikipedia 10.4.2 (MIT) and of the larger wikis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from processors.plain_text import clean
from schemas.shapes import InfoboxValue

# At the beginning of a name.
_FIRST = (
    "infobox/info/anfo/bilgi kutusu/bilgi/bilgiquti/boaty/boestkelaouiñ/bosca/capsa/diehtokássa/faktamall/fakta/ficha/"
    "ficha de/ferc'hell/gwybodlen/gwybodlen3/hộp thông tin/bảng phân loại/infobokis/infoboks/infochascha/infokašćik/"
    "infokast/infokutija/infokvir/infolentelė/infookvir/infopolje/infoqutu/informkesto/infoschede/infoskreine/infotaula/"
    "inligtingskas/inligtingskas3/kishtey fys/kotak info/kotak/məlumat qutusu/tertcita/tiätuloová/tietolaatikko/ynfoboks/"
    "πλαίσιο/πληροφορίες/κουτί πληροφοριών/акарточка/аҥа/инфобокс/інфобокс/инфокутија/инфокутия/картка/карточка/карточка2/"
    "карточкарус/картуш/тӗпинформаци/қуттӣ/ინფოდაფა/տեղեկաքարտ/בלופט/תבנית/بطاقة/صندوق معلومات/صندوق/جعبه/ڄاڻخانو/"
    "خانہ معلومات/زانیاری/زانیاریدان/ज्ञानसन्दूक/ज्ञानसंदूक/माहितीचौकट/तथ्यछक/তথ্যছক/তথ্যবাকচ/ਜਾਣਕਾਰੀਡੱਬਾ/ਗਿਆਨਸੰਦੂਕ/"
    "માહિતીચોકઠું/జ్ఞానసందుకం/సమాచారపెట్టె/తెలుగు/തകിടം/തොරතුරුකොටුව/තොරතුරුකොටුව/กล่องข้อมูล/ກ່ອງຂໍ້ມູນ/ប្រអប់ព័ត៌មាន/정보상자/基礎情報/信息框/"
    "資訊框/明細/taxobox/automatic taxobox/speciesbox/subspeciesbox/taxotaulë/taxocaixa/taxobox2/chembox/drugbox/geobox/"
    "starbox/elementbox/mycomorphbox/ichnobox/hybridbox/oobox/paraphyletic group/divisione amministrativa/bio/dati/"
    "carica pubblica/sportivo/composto chimico/corpo celeste/edificio religioso/album/film/libro/artista musicale/"
    "opera d'arte/squadra calcio/azienda/videogioco/fumetto e animazione/montagna/fiume/lago"
)
# At its end.
_LAST = (
    "infobox/infoboks/infokvir/bilgi kutusu/infoqutu/infoqutusu/info box/taxobox/정보/정보상자/情報/צד/מידע/"
    "kutusu/lentelė/infolentelė/infobokss/tabula"
)
FIRST, LAST = frozenset(_FIRST.split("/")), frozenset(_LAST.split("/"))
PARTS = re.compile(r"[\s/_:\-–(]+")
# Fewer named values than this are a remark, not a box.
LEAST_VALUES = 4


@lru_cache(maxsize=4096)
def is_infobox(name: str) -> bool:
    """By the words of a template's name.

    >>> [is_infobox(name) for name in ("Infobox lake", "Ficha de persona", "Kişi bilgi kutusu", "인물 정보", "Cite web")]
    [True, True, True, True, False]
    """
    lower = name.lower().strip()
    if lower.startswith(("infobox", "infoboks", "taxobox", "информкар", "карточка")):
        return True
    parts = [part for part in PARTS.split(lower) if part][:12]
    heads = (" ".join(parts[:count]) for count in (1, 2, 3))
    tails = (" ".join(parts[-count:]) for count in (1, 2))
    return any(head in FIRST for head in heads) or any(tail in LAST for tail in tails)


def has_shape(positional: Sequence[str], named: Mapping[str, str], raw: str) -> bool:
    """Whether a template looks like one: named values above all, most of them on lines of their own."""
    return len(named) >= LEAST_VALUES and len(positional) < len(named) and raw.count("\n") >= len(named) // 2


def values(pieces: Iterable[str], named: Mapping[str, str]) -> tuple[InfoboxValue, ...]:
    """The plain text of the values that are not empty. pieces: `name = text` of each parameter, without what is nested
    in it that makes no text."""
    found = []
    for piece in pieces:
        name, equals, text = piece.partition("=")
        name = name.strip()
        if equals and named.get(name):
            found.append(InfoboxValue(name=name, text=clean(text) or None))
    return tuple(found)
