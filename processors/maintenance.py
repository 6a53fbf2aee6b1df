"""Which templates ask editors to repair something, by language.

English names are known everywhere, since most wikis have taken them over. Names for single statements that lack a source
are those of Citation Hunt (MIT); the others are the best known ones of each wiki, written down by hand: what is missing
is a line away.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from schemas.shapes import Maintenance

C, V, L, U = Maintenance.CITATION, Maintenance.POINT_OF_VIEW, Maintenance.CLARIFY, Maintenance.UPDATE
K, N, D, S, X = (
    Maintenance.CLEANUP,
    Maintenance.NOTABILITY,
    Maintenance.DEAD_LINK,
    Maintenance.STUB,
    Maintenance.DELETION,
)
# Language → what it asks for → names in lower case, parted by `/`.
NAMES: Mapping[str, Mapping[Maintenance, str]] = {
    "en": {
        C: "citation needed/cn/fact/cb/citation needed span/cn-span/citations needed/unreferenced/unreferenced section/"
        "unsourced/refimprove/more citations needed/refimprove section/more citations needed section/blp sources/"
        "blp unsourced/blp unreferenced/no footnotes/more footnotes/more footnotes needed/more references/one source/"
        "single source/primary sources/third-party/verify/verification needed/failed verification/better source needed/"
        "unreliable source?/unreliable source/unreliable sources/additional citation needed/full citation needed/"
        "medical citations needed/page needed/original research/original research section/original research inline/"
        "self-published/self-published inline/sources needed/references needed/source needed/citation style/self-published source",
        V: "pov/npov/neutrality/pov section/npov section/pov statement/pov inline/pov check/unbalanced/undue weight/"
        "undue weight inline/peacock/peacock term/peacock inline/weasel/weasel words/weasel inline/advert/advertisement/"
        "promotional/promotion/coi/autobiography/fan pov/bias/disputed/disputed inline/dubious/systemic bias/globalize/"
        "worldwide/hoax/paid contributions",
        L: "clarify/clarification needed/clarifyme/vague/what/which/who/when/where/how/why/by whom/according to whom/"
        "whom?/which?/who?/when?/where?/explain/further explanation needed/elucidate/ambiguous/specify/jargon/technical/"
        "too technical/confusing/confusing section/incomprehensible inline/context/context inline/example needed/elaborate/"
        "contradictory/contradict/contradict-inline/needs context/quantify",
        U: "update/out of date/outdated/update inline/update after/update section/as of?/needs update/obsolete",
        K: "cleanup/cleanup section/cleanup rewrite/rewrite/cleanup reorganize/copy edit/copyedit/copy edit section/"
        "copy edit inline/tone/inappropriate tone/essay-like/essay/story/too many quotes/overly detailed/over-quotation/"
        "lead too short/lead missing/lead rewrite/lead too long/very long/too long/split/merge/merge to/merge from/sections/"
        "section sizes/wikify/underlinked/overlinked/orphan/dead end/uncategorized/improve categories/expand section/"
        "empty section/missing information/incomplete/multiple issues/article issues/cleanup bare urls/bare urls/"
        "linkrot/expert needed/attention/prose/cleanup list/example farm/in-universe/plot/long plot/"
        "trivia/rough translation/cleanup translation/more plot/external links/further reading cleanup/how-to/"
        "resume-like/like resume/news release/fanpov/unclear/no plot/buzzword/all plot/improve lead/condense/grammar",
        N: "notability/importance/non-notable/unreferenced blp/bio-notability/importance section/importance inline",
        D: "dead link/deadlink/dl/broken link/404/dead url/link rot/dead",
        S: "stub/substub",
        X: "proposed deletion/prod/prod blp/afd/article for deletion/article for deletion/dated/delete/db/speedy/"
        "db-g11/db-a7/proposed deletion/dated/speedy deletion/rfd/tfd/copyvio/copyviocore/hangon",
    },
    "ar": {
        C: "مصدر/بحاجة لمصدر/حقيقة/بحاجة إلى مصدر/مصادر أكثر/غير مراجعة/لا مصدر/لا مصدر/مصدر وحيد",
        V: "حيادية/منحاز/غير محايد/دعاية",
        K: "تنظيف/مشاكل متعددة/يتيمة/نهاية مسدودة/غير مصنفة/ويكي/توسيع قسم",
        N: "ملحوظية/شخصية غير ملحوظة",
        S: "بذرة",
        X: "شطب/حذف",
        D: "وصلة مكسورة",
    },
    "be": {C: "няма крыніц/няма аі/крыніца?", S: "накід", K: "перапрацаваць"},
    "bg": {C: "без източници/източник/източник?/цитат?/без източник", K: "почистване/обработка/обработи", S: "мъниче", V: "гледна точка"},
    "bn": {
        C: "তথ্যসূত্র প্রয়োজন/তথ্যসূত্র যাচাই/সত্যতা/উৎসহীন/উৎস প্রয়োজন/একটি উৎস",
        S: "অসম্পূর্ণ",
        K: "পরিষ্করণ/একাধিক সমস্যা/বিষয়শ্রেণীহীন",
        N: "উল্লেখযোগ্যতা",
        X: "অপসারণ প্রস্তাবনা",
    },
    "ca": {
        C: "citació necessària/cc/cn/falten referències",
        V: "no neutralitat/parcialitat/to promocional",
        K: "millorar/millorar format/millorar ortografia/millorar traducció/vegeu lliçó/treure/inacabat/traducció",
        N: "notorietat/admissibilitat",
        S: "esborrany",
        U: "actualitzar",
        X: "esborrar/esborrar-ràpid",
        D: "enllaç no actiu",
    },
    "cs": {
        C: "není ve zdroji/doplňte zdroj/fakt/dne/fakt/zdroj?/neověřeno/neozdrojováno/doplnit zdroje/bez zdroje",
        V: "npov/neutralita/reklama",
        L: "kdo?/kdy?/kde?/který?/jaký?/podle koho?/upřesnit",
        K: "upravit/pracuje se/přesnost/sloučit/rozšířit/wikifikovat/kategorizovat/překlad",
        N: "významnost",
        S: "pahýl",
        U: "aktualizovat/aktualizovat po",
        X: "smazat/urgentně ověřit/subpahýl",
        D: "nedostupný zdroj",
    },
    "da": {
        C: "kilde mangler/kilder mangler/manglende kilder/ingen kilder/kildeløs/manglende fodnoter/citation needed",
        V: "pov/ikke neutral/reklame",
        K: "oprydning/wikificering/omskriv/forældreløs/ingen kategori/flere problemer/utilstrækkelig indledning",
        N: "notabilitet/notability",
        S: "stub",
        U: "opdateres/forældet",
        X: "slet/hurtigslet/sletteforslag",
    },
    "de": {
        C: "belege fehlen/belege/quelle/quellen",
        V: "neutralität/werbung",
        K: "überarbeiten/lückenhaft/unverständlich/allgemeinverständlichkeit/redundanztext/nur liste/internationalisierung/"
        "deutschlandlastig/österreichlastig/schweizlastig/staatslastig/qualitätssicherung/qs/überarbeiten-kurz/widerspruch",
        N: "relevanz",
        U: "veraltet/aktualisieren",
        X: "löschen/löschantrag/löschantragstext/sla/urv/schnelllöschantrag",
        D: "toter link",
    },
    "el": {C: "εκκρεμεί παραπομπή/πηγή/χωρίς πηγές/χωρίς παραπομπές/πηγές/καμία παραπομπή", K: "επιμέλεια/μορφοποίηση/πολλαπλά ζητήματα", S: "επέκταση", V: "ουδετερότητα/pov", D: "νεκρός σύνδεσμος"},
    "eo": {C: "mankas fonto/mankas fontoj/fonto?/senfonta", K: "polurinda/reviziu/plibonigu", S: "ĝermo", V: "nenpv"},
    "es": {
        C: "cita requerida/añadir referencias/referencias/referencias adicionales/sin referencias/fuente primaria/"
        "fuentes no fiables/verificar/verifica/una sola fuente/investigación original/fuente propia/refnec/página requerida/"
        "obsoleto ref",
        V: "no neutral/promocional/publicidad/autobiografía/discutido/veracidad discutida/globalizar/ptovista/conflicto de interés",
        L: "aclarar/cuándo/cuándo?/quién/quién?/dónde/según quién/según quién?/dudoso/cita dudosa/contextualizar/contradictorio",
        K: "copyedit/wikificar/problemas artículo/formato de citas/estilo/mal traducido/traducción incompleta/ortografía/"
        "huérfano/categorizar/fusionar/desarrollo/complejo/largo/reorganizar/ficha/en desarrollo",
        N: "sin relevancia/relevancia/srel",
        S: "esbozo/miniesbozo",
        U: "desactualizado/actualizar/actualizable",
        X: "destruir/posible copyvio/borrar/consultadeborrado/cdb",
        D: "enlace roto/enlace irrecuperable",
    },
    "et": {C: "viide?/allikad/lisa viited/vajab viiteid/viita/viitamata", K: "toimeta/keeletoimeta/vikinda", S: "pooleli", V: "pov"},
    "eu": {C: "erreferentzia behar/erreferentziarik ez/erref behar/iturri behar", K: "berrikusi/zaharkitu", S: "zirriborro", X: "ezabatu"},
    "fa": {
        C: "مدرک/بی‌منبع/بدون منبع/نیازمند منبع/بهبود منبع/بدون پانویس/تک منبع/زندگان بدون منبع/منبع بهتر",
        V: "بی‌طرفی/دیدگاه/جانبدارانه/تبلیغ/لحن نامناسب",
        L: "چه کسی؟/کی؟/کدام؟/مبهم/روشن‌سازی",
        K: "تمیزکاری/ویکی‌سازی/چند مشکل/یتیم/ترجمه ضعیف/لحن/گسترش",
        N: "سرشناسی",
        S: "خرد/خُرد",
        U: "به‌روز/به‌روزرسانی",
        X: "حذف/حذف سریع/حذف زمان‌دار",
        D: "پیوند مرده",
    },
    "fi": {
        C: "lähde/lähde tarkemmin/kenen mukaan/lähteetön/lähteetön osio/lisää lähteitä/lähteitä/vain yksi lähde/heikko lähde/"
        "parempi lähde/todenna/oma tutkimus",
        V: "neutraalius/pov/mainos/ei neutraali",
        L: "täsmennä/selvennä/milloin/kuka/mikä/missä/selvitä",
        K: "korjattava/korjattava/kieli/korjattava/käännös/siivottava/laajennettava/yhdistettävä/jäsennettävä/viitteetön",
        N: "merkittävyys",
        S: "tynkä",
        U: "päivitettävä/vanhentunut",
        X: "poistettava/roskaa",
        D: "vanhentunut linkki",
    },
    "fr": {
        C: "référence nécessaire/référence souhaitée/inédit/refnec/à sourcer/sources/à vérifier/sources secondaires/"
        "source insuffisante/sources à lier/article non neutre et non sourcé/référence insuffisante/référence non conforme/"
        "référence à confirmer/travail inédit/source unique/pertinence contestée/section à sourcer/vérifiabilité/"
        "manque de sources/à sourcer davantage/refsou/refins/source à préciser/passage non neutre non sourcé/bpv à sourcer",
        V: "désaccord de neutralité/non neutre/non neutre section/promotionnel/section promotionnelle/pub/publicité/anecdotes/"
        "passage promotionnel/passage non neutre/désaccord de pertinence/contradiction/contradiction section/curriculum vitae/"
        "autobiographie/à délister/internationaliser/section non neutre/dithyrambe",
        L: "quoi/qui/quand/où/lequel/pourquoi/comment/combien/précision nécessaire/pas clair/par qui/selon qui/"
        "passage à préciser/quantifier/incompréhensible",
        K: "à wikifier/mettre à jour style/à recycler/recyclage/à illustrer/améliorer/multi bandeau/section vide ou incomplète/"
        "section vide/à fusionner/fusion/orphelin/à catégoriser/résumé introductif trop court/résumé introductif/style non encyclopédique/"
        "trop long/vie personnelle/à déjargoniser/à délier/traduction/traduction à revoir/orthographe/listes à puces/"
        "article à illustrer/développer/section trop longue/à scinder/mal sourcé/copie à éditer/boîte déroulante de maintenance",
        N: "admissibilité/admissibilité à vérifier/notoriété",
        S: "ébauche/bébauche/super ébauche",
        U: "mettre à jour/obsolète/article obsolète/section à actualiser/à actualiser/passage à actualiser",
        X: "suppression/suppression immédiate/débat d'admissibilité/copie à vérifier/copyvio",
        D: "lien brisé/lien mort",
    },
    "gl": {C: "cómpre referencia/sen referencias/cómpren referencias/cita requirida/sen fontes", K: "formato/wikificar/tradución/revisar", S: "bosquexo/miniesbozo", V: "non neutral"},
    "he": {
        C: "דרוש מקור/מקורות/חסר מקור/דרושים מקורות/אין מקורות",
        V: "נייטרליות/נמ\"ג/פרסומת/דעתני",
        L: "הבהרה/מי/מתי/איפה/דרושה הבהרה",
        K: "לשכתב/עריכה/שכתוב/ויקיזציה/להשלים/בעבודה/איחוד",
        N: "חשיבות/הבהרת חשיבות",
        S: "קצרמר",
        U: "לעדכן/עדכון/מיושן",
        X: "מחק/למחיקה/הצבעת מחיקה",
        D: "קישור שבור",
    },
    "hi": {C: "उद्धरण आवश्यक/स्रोतहीन/तथ्य/स्रोत कम/एक स्रोत/स्रोत आवश्यक", K: "सफ़ाई/अनेक समस्याएँ/विकिफ़ाइ/सफाई", S: "आधार", V: "निष्पक्ष नहीं/प्रचार", N: "उल्लेखनीयता"},
    "hr": {C: "nedostaje izvor/bez izvora/izvor/dodaj izvore/nedostaju izvori", K: "wikipedizirati/čišćenje/dorada/bez kategorije", S: "mrva", V: "pov/neutralnost", X: "brisanje"},
    "hu": {
        C: "forrás?/nincs forrás/forráskérő/nincs megfelelő forrás/csak egy forrás/megbízhatatlan forrás/első kézből/refhely/forráshiányos",
        V: "pov/nem semleges/reklám/elfogult/semlegesség/pov-szakasz",
        L: "ki/mikor/hol/melyik/pontosabban/zavaros",
        K: "lektor/wikizálni/formai hibák/hibás/bővítendő/magyarítandó/lektorálandó/árva/összedolgozandó/lapos",
        N: "nevezetesség/nem enciklopédikus",
        S: "csonk",
        U: "aktualizálni/elavult/frissítendő",
        X: "törlés/szubcsonk/azonnali/jogsértő/felesleges",
        D: "halott link",
    },
    "hy": {C: "փաստ/աղբյուր չկա/անաղբյուր/չստուգված/ստուգել", K: "մաքրել/վիքիֆիկացում/լրացնել", S: "անավարտ/անավարտ հոդված", X: "ջնջել"},
    "id": {
        C: "butuh rujukan/fakta/tanpa referensi/tidak memiliki referensi/refimprove/kurang referensi/cn/periksa rujukan/satu sumber/butuh referensi",
        V: "netral/pov/iklan/sengketa/promosi",
        L: "jelaskan/siapa/kapan/perlu penjelasan",
        K: "rapikan/wikifikasi/gaya penulisan/terjemah/periksa terjemahan/masalah ganda/kembangkan/yatim/tanpa kategori/orphan",
        N: "kelayakan/notability",
        S: "rintisan",
        U: "kedaluwarsa/update/perbarui",
        X: "hapus/delete/usulan penghapusan",
        D: "pranala mati",
    },
    "it": {
        C: "citazione necessaria/senza fonte/f/nn/senza fonti/contestualizzare/fonte unica/chiarire fonte/no fonti/cn",
        V: "p/pov/parzialità/enfasi/localismo/tono promozionale/promo",
        L: "chiarire/chi/quando/quale/dove/vago/non chiaro",
        K: "w/controllare/a/c/stub/correggere/organizzare/unire/dividere/wikificare/curriculum/ndp/tradurre/t/categorizzare/o/"
        "orfana/copyedit/accorciare/finestra/incipit/abbozzo/recentismo/niente trivia/senza box",
        N: "e/enciclopedicità",
        S: "abbozzo",
        U: "aggiornare/agg/aggiornamento",
        X: "cancellazione/cancella subito/cancelcopy/cancellare/controlcopy",
        D: "collegamento interrotto",
    },
    "ja": {
        C: "要出典/出典の明記/要出典範囲/未検証/独自研究/複数の問題/参照方法/一次資料/単一の出典/信頼性要検証/検証が必要/要検証/要検証範囲/要ページ番号/"
        "存命人物の出典明記/出典無効/脚注の不足/精度/独自研究範囲/要高次出典/更なる出典",
        V: "観点/中立的観点/宣伝/広告/大言壮語/観点範囲/正確性/言葉を濁さない/世界的観点/要pov/一方的/論争中/国際化/自著/内容過剰",
        L: "いつ/誰/誰?/何/どこ/どれ/要説明/曖昧/誰が/なぜ/どのように/いつ?/不明確/要明確化",
        K: "国際化/ウィキ化/要改稿/正確性/加筆/孤立/カテゴリ/記事名の制約/翻訳直後/整理/推敲/文学/長大な記事/統合/統合提案/分割提案/雑多な内容の箇条書き/"
        "ページ番号/言い回し/雑多/pathnav修正/コピペ移動/節stub/翻訳改善/不十分な翻訳/要校閲/暫定記事名/あらすじ/内容過剰/大幅加筆",
        N: "特筆性",
        S: "スタブ/substub/節スタブ",
        U: "更新/古い情報/更新が必要/時節",
        X: "削除/即時削除/copyrights/削除依頼",
        D: "リンク切れ",
    },
    "ka": {C: "წყარო?/უწყარო/წყარო/დასამოწმებელი", K: "გასასწორებელი/სტილი/ვიკიფიკაცია", S: "ესკიზი"},
    "kk": {C: "дерек көзі?/дереккөзі?/дереккөзсіз/сілтемесіз", K: "өңдеу/уикилендіру", S: "stub/шала/бастама"},
    "ko": {
        C: "출처/출처 필요/출처 부족/출처필요/출처 분명/신뢰할 수 없는 출처/독자연구/독자 연구/1차 출처/각주 부족/내용 주의/확인 필요/신뢰성 의심/출처부족/글머리 출처",
        V: "중립 필요/편향/광고/중립 비준수/홍보/논란/정확성/자서전",
        L: "누가/언제/어디/모호/뭐/명확히/설명 필요",
        K: "정리 필요/정리필요/번역/번역 확장 필요/위키화/외톨이/분류 필요/다중 문제/문단 늘리기/번역 필요/합치기/글로벌/국제화/문서 정리",
        N: "저명성/등재 기준",
        S: "토막글/부분 토막글",
        U: "갱신 필요/오래됨/최신",
        X: "삭제/삭제 신청/삭제신청/삭제 토론",
        D: "깨진 링크/죽은 링크/깨진링크",
    },
    "lt": {C: "faktas/šaltinis?/be šaltinių/trūksta šaltinių/patikslinti", K: "tvarkyti/sutvarkyti/wikify", S: "stub/užbaigti", V: "neutralumas"},
    "lv": {C: "nepieciešama atsauce/atsauce+/trūkst atsauču/atsauces+/bez atsaucēm/nav atsauču", K: "uzlabošanas/jāpārraksta/uzlabot", S: "stub/aizmetnis"},
    "ml": {C: "തെളിവ്/അവലംബം/ആധികാരികത/ഒറ്റവരി", S: "അപൂർണ്ണം", K: "വൃത്തിയാക്കുക"},
    "ms": {C: "petikan diperlukan/tiada rujukan/tanpa rujukan/rujukan/cn/fakta", K: "kemas kini/pembersihan/wikify/terjemahan", S: "tunas", N: "kemasyhuran"},
    "nl": {
        C: "bron?/feit/bron gevraagd/geen bron/bronnen/primaire bronnen/bronloos/citaat gevraagd/meerdere bronnen",
        V: "pov/niet neutraal/npov/reclame/promo/twijfel",
        L: "wie/wanneer/waar/wat?/welke/onduidelijk/verduidelijken",
        K: "wiki/opmaak/samenvoegen/taalfouten/vertaling/in opbouw/wikify/beginnetje/nog uitwerken/wees/splitsen/expert gevraagd/nakijken",
        N: "ne/relevantie",
        S: "beginnetje/stub",
        U: "actueel/verouderd/bijwerken",
        X: "weg/nuweg/wiu/wiu2/reclame/ne/verwijderen",
        D: "dode link",
    },
    "nn": {C: "treng kjelde/ingen kjelder/manglar kjelder", K: "opprydding/rydd", S: "spire", X: "slett"},
    "no": {
        C: "trenger referanse/referanse/trenger referanser/referanseløs/kildeløs/tr/dårlig kilde/uten kilder/trenger kilde",
        V: "objektivitet/pov/reklame/nøytralitet/globaliser/unøytral",
        L: "klargjør/hvem/når/hvor/hvilken/trenger klargjøring",
        K: "opprydning/språkvask/flytt/flere problemer/foreldreløs/ukategorisert/utvid/oversettelse/wikifiser/rydd",
        N: "relevans",
        S: "stubb/spire",
        U: "oppdateres/utdatert/trenger oppdatering",
        X: "slett/hurtigslett/sletting",
        D: "død lenke",
    },
    "pl": {
        C: "fakt/dopracować źródła/brak źródeł/niezweryfikowane/potrzebny przypis/źródło?/brak przypisów",
        V: "neutralność/npov/pov/reklama/stronniczość/do neutralizacji/punkt widzenia",
        L: "kto/kiedy/gdzie/który/doprecyzować/jaki/czego",
        K: "dopracować/do sprawdzenia/wikizacja/popraw tłumaczenie/integracja/do integracji/sprzątanie/do przeredagowania/linki/brak kategorii/kategoria/"
        "hasło/rozbudować/do połączenia",
        N: "encyklopedyczność/poczekalnia",
        S: "stub/zalążek",
        U: "aktualizacja/dezaktualizacja/przestarzałe",
        X: "ek/ekspresowe kasowanie/do usunięcia/sdu/npa",
        D: "martwy link",
    },
    "pt": {
        C: "carece de fontes/carece de fontes2/sem-fontes/sem-fontes-bpv/sem-fontes-sobre/carece fontes/sem fontes/mais-fontes/mais fontes/"
        "mais notas/mais-notas/sem notas/sem-notas/fontes primárias/fonte primária/uma fonte/verificar/pesquisa inédita/fonte confiável/"
        "ref-improve/reciclagem fontes/fontes fiáveis/fontes não fiáveis/não consta na fonte/citação necessária",
        V: "parcial/parcialidade/propaganda/publicidade/não neutro/texto publicitário/global/tendencioso/autobiografia/conflito de interesses/ou parcial",
        L: "quem/quando/onde/qual/como/esclarecer/explicar/de quem/vago/confuso/segundo quem/contradição/dúvida",
        K: "reciclagem/wikificação/wikificar/revisão/revisar/corrigir/formatar referências/rec/expandir/expandir seção/tradução/má tradução/revisão-sobre/"
        "formatar/manutenção/múltiplos problemas/fusão/fundir/sem infocaixa/órfão/secção vazia/sem cat/título em revisão/mais informações sobre",
        N: "notoriedade/eliminar notoriedade/sem notoriedade",
        S: "esboço/mínimo/esboço-",
        U: "desatualizado/atualizar/actualizar/em atualização",
        X: "eliminar/er/apagar/esr/pe/vda/suspeito",
        D: "ligação inativa/link morto/ligação morta",
    },
    "ro": {
        C: "necesită citare/fără surse/surse/sursă?/necitat/mai multe surse/nn/verificare/nesigur/citare necesară/fapt/o singură sursă/ref+",
        V: "pdvn/reclamă/neutralitate/ton/publicitar",
        L: "cine/când/care/clarificare/neclar",
        K: "curățare/wikificare/gramatică/problemearticol/problemearticole/traducere/orfan/extinde/reformulare/dezvoltare/calitate scăzută",
        N: "notabilitate",
        S: "ciot",
        U: "actualizare/vechi",
        X: "ștergere/șterge rapid/șr",
        D: "legătură nefuncțională/legătură moartă",
    },
    "ru": {
        C: "нет аи/нет аи 2/нет источника/нет источников/источник?/значимость факта/орисс/проверить факты/достоверность/нет ссылок/нет сносок/"
        "нет в источнике/неавторитетный источник/аи?/переписать/подтвердить источник/первичные источники/достоверность источника/"
        "нет полных библиографических описаний/сослаться на аи/что?/спам-ссылки/не аи/без источников/недостаточно ссылок/неаи/дополнить источниками",
        V: "нтз/нейтральность/не нейтрально/проверить нейтральность/реклама/рекламный/взвешенность/субъективно/спам/неоднозначно/глобализировать/необъективно/"
        "ненейтрально/рекламная статья/предвзятость/стиль рекламный",
        L: "уточнить/кто?/кто/когда?/когда/где?/где/какой?/какие?/какой/каким образом?/пояснить/неясно/сколько?/чей?/почему?/по мнению?/конкретизировать/"
        "каких?/каком?/уточнить факт/непонятно/неопределённость",
        K: "стиль/переработать/викифицировать/дополнить/дополнить раздел/закончить перевод/плохой перевод/плохое оформление/rq/грамматика/объединить/разделить/"
        "изолированная статья/сирота/нет категорий/нет карточки/нет иллюстраций/оформить литературу/пустой раздел/чистить/оформить/статья не закончена/"
        "внутренние ссылки/проверить перевод/неполная/неполный список/множественные проблемы/улучшить/перевести/тупик/сюжет/списки/орфография/оформить ссылки",
        N: "значимость/незначимость/нет значимости",
        S: "stub/заготовка/незавершённая статья/мини-статья",
        U: "обновить/устарело/обновить данные/устаревшее/статья об устаревшем",
        X: "к удалению/уд/удалить/кбу/db/уд-мини/короткая статья/к быстрому удалению/hangon-ru/подозрение на нарушение авторских прав",
        D: "недоступная ссылка/мёртвая ссылка/битая ссылка/мёртвые ссылки",
    },
    "sk": {C: "bez citácie/chýba zdroj/doplniť zdroj/bez zdroja/zdroj?/neozdrojované", K: "upraviť/wikifikovať/na úpravu/preklad", S: "výhonok", V: "npov", N: "významnosť", X: "zmazať/delete"},
    "sl": {C: "navedi vir/brez virov/vir?/viri/citat?/brez vira/kdo?", K: "čiščenje/preuredi/slog/dopolni/posodobi", S: "škrbina", V: "npov/pov", X: "briši"},
    "sq": {C: "citim i duhur/burimi/fakti/pa burime/citim", K: "rregullo/mirëmbajtje", S: "cung", V: "npov"},
    "sr": {
        C: "чињеница/без извора/извор/рут/бајат/потребан извор/непроверено/није у извору/више извора/fact/без референци",
        V: "неутралност/пов/реклама",
        K: "сређивање/викификовати/превод/среди/проширити/сироче",
        N: "значај",
        S: "клица",
        X: "брисање/брзо брисање",
        D: "мртва веза",
    },
    "sv": {
        C: "kb/källa behövs/referens behövs/källor/ifrågasatt uttalande/faktakoll/källlös/fotnoter/trovärdighet/ifrågasatt/"
        "inga källor/ensam källa/källor behövs/verifieras/ej i källa",
        V: "pov/partisk/neutralitet/reklam/opartiskhet/icke-neutral/globalisera/peacock",
        L: "vem/när/var/vilken/förtydliga/förtydligande/av vem/vilka/otydlig/oklart",
        K: "städa/wikify/språkvård/sammanfoga/dela/föräldralös/okategoriserad/ofullständig/utöka/ickeencyklopedisk/översättning/formatera/expandera/"
        "maskinöversatt/flera problem",
        N: "relevans/relevanskontroll/betydelse",
        S: "stub/substub",
        U: "uppdatera/inaktuell/aktualitet/uppdateras",
        X: "radera/raderas/sffr/b-radera",
        D: "död länk",
    },
    "ta": {C: "சான்று தேவை/மேற்கோள் தேவை/ஆதாரம் தேவை/சான்றில்லை/fact", K: "துப்புரவு/விக்கியாக்கம்", S: "குறுங்கட்டுரை"},
    "th": {C: "ต้องการอ้างอิง/อ้างอิง/ขาดอ้างอิง/ไม่มีอ้างอิง/เพิ่มอ้างอิง/โปรดปรับปรุงอ้างอิง", K: "เก็บกวาด/จัดรูปแบบ/ปรับภาษา/รอการตรวจสอบ/ลบ", S: "โครง", N: "ความสำคัญ", V: "ไม่เป็นกลาง"},
    "tr": {
        C: "kaynak belirt/kaynaksız/fact/doğrula/ek kaynak/kaynak gerekli/tek kaynak/güvenilmez kaynak/özgün araştırma/kaynak güvenilirliği/"
        "kaynakça iyileştir/daha iyi kaynak/birincil kaynak",
        V: "taraflı/tarafsızlık/reklam/övgü/tartışmalı/yanlı",
        L: "kim/ne zaman/nerede/hangi/açıkla/netleştir/belirsiz/kime göre",
        K: "düzenle/temizle/vikileştir/çoklu sorun/birçok sorun/öksüz/kategorisiz/genişlet/imla/kötü çeviri/çeviri/anlatım bozukluğu/birleştir",
        N: "kayda değerlik/kayda değer/kd",
        S: "taslak",
        U: "güncelle/güncel değil/eskimiş",
        X: "sil/hızlı sil/silinmeye aday/bvkd/sas",
        D: "ölü bağlantı/kırık bağlantı/ölü link",
    },
    "uk": {
        C: "джерело/джерело?/без джерел/fact/немає джерел/нема джерел/недостатньо джерел/неавторитетне джерело/оригінальне дослідження/дослідження/"
        "перевірити/факт/без виносок/первинні джерела/недостовірно/не в джерелі/більше джерел/одне джерело",
        V: "нейтральність/нтз/pov/неупередженість/реклама/рекламно/упередженість/глобалізувати",
        L: "хто/хто?/коли/коли?/де?/який/який?/уточнити/прояснити/незрозуміло/що?/пояснити/не вказано",
        K: "стиль/вікіфікувати/переробити/доробити/поліпшити/ізольована стаття/сирота/без категорій/categories needed/об'єднати/розділити/оформити/"
        "автопереклад/погано перекладено/неперекладено/покращити/розширити/незавершений розділ/множинні проблеми/брак посилань",
        N: "значимість/незначимість/недостатньо значимості",
        S: "stub/доробка/заготовка",
        U: "оновити/застаріло/оновлення",
        X: "delete/вилучити/db/швидке вилучення/порушення авторських прав/вилучення",
        D: "недоступне посилання/мертве посилання",
    },
    "ur": {C: "حوالہ درکار/بلا حوالہ/حوالہ/ماخذ", K: "صفائی/ویکائی", S: "نامکمل", N: "معروفیت"},
    "vi": {
        C: "cần chú thích/cần dẫn nguồn/fact/thiếu nguồn gốc/chú thích trong bài/không nguồn/tách nguồn/cần nguồn/thêm nguồn/thiếu nguồn/một nguồn/"
        "tự công bố/nghiên cứu chưa công bố/thêm chú thích/nguồn sơ cấp/kiểm chứng",
        V: "trung lập/thái độ trung lập/quảng cáo/văn phong không trung lập/thiên lệch/tầm nhìn hẹp",
        L: "ai nói/khi nào/ở đâu/cái nào/cần giải thích/làm rõ/không rõ",
        K: "chất lượng/dọn dẹp/wiki hóa/văn phong/dịch thuật/nhiều vấn đề/mồ côi/unreferenced section/hợp nhất/chất lượng dịch/chưa phân loại/định dạng",
        N: "độ nổi bật/đnb",
        S: "sơ khai",
        U: "cập nhật/lỗi thời",
        X: "xóa/chờ xóa/xóa nhanh/biểu quyết xóa/afd",
        D: "liên kết hỏng/link hỏng",
    },
    "zh": {
        C: "fact/来源请求/來源請求/來源/來源不足/来源/refimprove/unreferenced/citation needed/需要來源/需要来源/缺乏来源/no footnotes/primarysources/原创研究/原創研究/"
        "來源可靠/事实/請求來源/citecheck/onesource/可靠来源/查证请求/查證請求/verify/cn/補充來源/补充来源/第三方来源/未列明来源",
        V: "pov/中立/advert/广告/廣告/peacock/中立性/bias/globalize/地域中心/fanpov/爱好者观点/愛好者觀點/npov/宣传/宣傳",
        L: "clarify/who/when/which/where/何时/何時/谁/誰/何人/哪個/澄清/需要解釋/需要解释/why",
        K: "cleanup/清理/维基化/wikify/copyedit/cleanup-jargon/expand/扩充/擴充/uncategorized/orphan/孤立/multiple issues/合并/合併/translate/翻译/翻譯/"
        "机器翻译/機器翻譯/trivia/prose/inuniverse/roughtranslation/cleanup list/substub/expand language/notmandarin/文風/文风/格式/語調/tone/split/小小作品補充",
        N: "notability/关注度/關注度/notability unreferenced/知名度",
        S: "stub/小作品",
        U: "update/更新/過時/过时/asof",
        X: "vfd/delete/d/afd/copyvio/快速删除/快速刪除/侵权/侵權",
        D: "dead link/deadlink/失效链接/失效連結/死链",
    },
}  # fmt: skip
ALIASES = {
    "simple": "en",
    "commons": "en",
    "sh": "sr",
    "bs": "hr",
    "nb": "no",
    "arz": "ar",
    "zh-yue": "zh",
    "zh-classical": "zh",
    "wuu": "zh",
}


@lru_cache(maxsize=512)
def _kinds(language: str) -> dict[str, Maintenance]:
    kinds: dict[str, Maintenance] = {}
    for rows in (NAMES["en"], NAMES.get(ALIASES.get(language, language), {})):
        for kind, names in rows.items():
            kinds |= dict.fromkeys(names.split("/"), kind)
    return kinds


def kind_of(name: str, language: str) -> Maintenance | None:
    """What a template asks for; None if it asks for nothing that we know.

    A stub's kind is often the last word of its name: `Lake-stub`.

    >>> kind_of("Citation needed", "en"), kind_of("Belege fehlen", "de"), kind_of("Scotland-geo-stub", "en")
    (<Maintenance.CITATION: 'citation'>, <Maintenance.CITATION: 'citation'>, <Maintenance.STUB: 'stub'>)
    """
    lower = name.lower()
    kind = _kinds(language).get(lower)
    return Maintenance.STUB if kind is None and lower.endswith("-stub") else kind
