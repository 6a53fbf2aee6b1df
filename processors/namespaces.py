"""How each wiki spells `Category:`, `File:`, `Template:` and `#REDIRECT`, and how its titles are written.

English names work on every wiki; the local ones are a start set for the larger languages, from their MediaWiki message
files. A wiki that is not in the table is read with English names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

# Language → category, file, template, redirect; `/` parts several spellings. Compared without regard to case.
LOCAL = {
    "ar": ("تصنيف", "ملف/صورة", "قالب", "تحويل"),
    "bg": ("Категория", "Файл/Картинка", "Шаблон", "пренасочване/виж"),
    "bn": ("বিষয়শ্রেণী", "চিত্র/ফাইল", "টেমপ্লেট", "পুনর্নির্দেশ"),
    "ca": ("Categoria", "Fitxer/Imatge", "Plantilla", "redirecció"),
    "cs": ("Kategorie", "Soubor", "Šablona", "přesměruj"),
    "da": ("Kategori", "Fil/Billede", "Skabelon", "omdirigering"),
    "de": ("Kategorie", "Datei/Bild", "Vorlage", "weiterleitung"),
    "el": ("Κατηγορία", "Αρχείο/Εικόνα", "Πρότυπο", "ανακατευθυνση"),
    "es": ("Categoría", "Archivo/Imagen", "Plantilla", "redirección/redireccion"),
    "eu": ("Kategoria", "Fitxategi/Irudi", "Txantiloi", "birzuzendu"),
    "fa": ("رده", "پرونده/تصویر", "الگو", "تغییر_مسیر/تغییرمسیر"),
    "fi": ("Luokka", "Tiedosto/Kuva", "Malline", "ohjaus/uudelleenohjaus"),
    "fr": ("Catégorie", "Fichier", "Modèle", "redirection"),
    "he": ("קטגוריה", "קובץ/תמונה", "תבנית", "הפניה"),
    "hi": ("श्रेणी", "चित्र", "साँचा", "अनुप्रेषित/पुनर्प्रेषित"),
    "hr": ("Kategorija", "Datoteka/Slika", "Predložak", "preusmjeri"),
    "hu": ("Kategória", "Fájl/Kép", "Sablon", "átirányítás"),
    "id": ("Kategori", "Berkas/Gambar", "Templat", "alih"),
    "it": ("Categoria", "File/Immagine", "Template", "rinvia/rinvio"),
    "ja": ("カテゴリ", "ファイル/画像", "テンプレート", "転送/リダイレクト"),
    "ko": ("분류", "파일/그림", "틀", "넘겨주기"),
    "nl": ("Categorie", "Bestand/Afbeelding", "Sjabloon", "doorverwijzing"),
    "no": ("Kategori", "Fil/Bilde", "Mal", "omdirigering"),
    "pl": ("Kategoria", "Plik/Grafika", "Szablon", "patrz/przekieruj/tam"),
    "pt": ("Categoria", "Ficheiro/Arquivo/Imagem", "Predefinição", "redirecionamento"),
    "ro": ("Categorie", "Fișier/Fişier/Imagine", "Format", "redirecteaza"),
    "ru": ("Категория/К", "Файл/Изображение", "Шаблон/Ш", "перенаправление/перенапр"),
    "sr": ("Категорија/Kategorija", "Датотека/Слика/Datoteka/Slika", "Шаблон/Šablon", "преусмери/preusmeri"),
    "sv": ("Kategori", "Fil/Bild", "Mall", "omdirigering"),
    "tr": ("Kategori", "Dosya/Resim", "Şablon", "yönlendirme"),
    "uk": ("Категорія", "Файл/Зображення", "Шаблон", "перенаправлення"),
    "vi": ("Thể loại", "Tập tin/Hình", "Bản mẫu/Tiêu bản", "đổi"),
    "zh": ("分类/分類", "文件/档案/檔案/图像/圖像", "模板/样板/樣板", "重定向"),
}
LOCAL["nn"] = LOCAL["no"]
LOCAL["sh"] = LOCAL["sr"]
LOCAL["simple"] = ("Category", "File", "Template", "redirect")

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
LANGUAGES = frozenset(_LANGUAGES.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Prefixes in lower case. capital_links: the first letter of a title has no case. language_links: `[[de:Berlin]]`
    is shown beside the page and not in it."""

    language: str
    category: frozenset[str]
    file: frozenset[str]
    template: frozenset[str]
    redirect: frozenset[str]
    capital_links: bool = True
    language_links: bool = True


@lru_cache(maxsize=2048)
def namespaces_of(wiki: str) -> Namespaces:
    """The spellings of a wiki, by the language in its name: `dewiki`, `frwiktionary`, `commonswiki`."""
    language = wiki.partition("wik")[0].replace("_", "-")
    local = LOCAL.get(language, LOCAL["simple"])
    category, file, template, redirect = (frozenset(names.lower().split("/")) for names in local)
    return Namespaces(
        language=language,
        category=category | {"category"},
        file=file | {"file", "image"},
        template=template | {"template"},
        redirect=redirect | {"redirect"},
        capital_links=not wiki.endswith("wiktionary") and wiki != "jbowiki",
        language_links=wiki not in {"commonswiki", "wikidatawiki", "metawiki", "mediawikiwiki", "specieswiki"},
    )


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
