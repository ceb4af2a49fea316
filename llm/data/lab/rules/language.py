"""Which language a text is in: by its script, and by the small words that no text goes without.

language_of("Um mago nunca chega tarde")      # ("pt", 0.7...)

By hand and small. It tells the languages in the table below, which is enough to keep one of them; a text in another
language with the same script is "und" (undetermined), as is one without words.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np

from llm.data.lab.rules.gopher import has_letter
from llm.data.lab.rules.split import words_of
from llm.data.lab.rules.steps import Limit

# Small words by script and language. One that k languages have counts 1 / k for each.
_SMALL_WORDS = {
    "Latin": {
        "en": "the of and to a an in is that for it was on are as with his they at be this have from or had by not but"
        " what all were we when your can said there which she do how their if will up about out then them would so her"
        " him has more my than been who its did you i am he me no our us these into",
        "fr": "le la les des et est un une du en que qui dans pour pas sur au plus par je il ne se ce avec sont mais"
        " nous vous ils elle son sa ses aux cette être ont jamais qu l d à où même comme était",
        "de": "der die das und ist nicht ein eine den von zu mit sich auf für dem im des es ich sie auch als an er wie"
        " bei oder aus nach wird einen nur noch werden war haben einer zum wir kann über sind hat daß dass",
        "es": "el la los las de que y en un una por con no su para es al lo como más pero sus le ya o este sí porque"
        " esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos era fue se del",
        "pt": "o a os as de que e do da em um uma para com não por mais dos das no na se foi ao como ou seu sua mas"
        " quando muito nos já eu também só pelo pela até isso ela entre era depois sem mesmo são nunca nem ele hora",
        "it": "il lo la i gli le di che e è un una in per con non del della dei delle da al alla sono si come più ma"
        " anche nel nella se ci questo questa essere o ha hanno suo sua loro tra dal dalla degli tutti molti",
        "nl": "de het een en van in is dat op te zijn met voor niet aan er om dan ook als maar bij uit naar door over"
        " nog wel geen ze heeft hebben wordt wat werd deze die ik je hij zij we worden kan",
        "sv": "och att det som en på är av för med den till inte har de ett om vi men jag från så var sig kan han hon"
        " ska eller när där skulle mycket också efter vara",
        "da": "og i at det er en den til på som for med de af ikke der var et har om jeg men han sig fra vi kan skal"
        " hun efter eller ved blev også meget når være ud",
        "no": "og i det er en på som til for med av den å at ikke har de om et jeg han var fra men vi kan seg hun skal"
        " eller ved etter ble også mye når være ut",
        "fi": "ja on ei se että oli hän mutta myös kun ovat ole niin kuin joka tai hänen sen mitä sitä vain jos minä"
        " ne olla nyt voi",
        "pl": "i w na z się nie to że do jest o jak za od po ale przez dla tym są co był jego tego tak już może czy być"
        " oraz tylko ich",
        "cs": "a se na je v že to s z do o k i ve by pro jako za ale po jsem jsou nebo podle byl které která který"
        " však také jeho",
        "ro": "și de în a la cu nu o să pe este un din care mai pentru că ce ca sunt au fost prin după dar sau lui",
        "hu": "a az és hogy nem is egy ez meg csak van volt de már mint még ha azt ki el kell lehet vagy szerint amely",
        "tr": "ve bir bu da de için ile çok ne daha gibi o ama olarak var en kadar sonra ben mi değil olan her şey",
        "vi": "và của là có không được trong cho một người những với các đã này khi đến để từ ở như cũng nhưng",
        "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka"
        " oleh telah sudah atau kami",
        "la": "et in est non ad ut cum sed qui quae quod esse si ex ab enim autem atque sunt aut nec per dolor ipsum",
    },
    "Cyrillic": {
        "ru": "и в не на что я с он а как это по но они мы она так его за у из же от бы к для вы о все было только",
        "uk": "і в не на що я з він а як це по але вони ми вона так його за у із же від би до для ви про все було є та",
        "bg": "и в не на че аз с той а как това по но те ние тя така за от да се са е ще към до при които който",
        "sr": "и у не на да ја са он а како то по али они ми она за од је се су што који која које",
    },
    "Arabic": {
        "ar": "في من على أن إلى التي هذا عن الذي مع كان هذه ما لا بين كل بعد ذلك أو قد هو هي",
        "fa": "و در به از که این را با است برای آن یک خود تا بر هم نیز شد می ها های",
        "ur": "کے میں کی ہے اور سے کا کو اس نے پر یہ کہ ہیں تھا بھی وہ کر",
    },
}
# Scripts that are one language each, more or less.
_ONE_LANGUAGE = {"Greek": "el", "Hebrew": "he", "Armenian": "hy", "Devanagari": "hi", "Bengali": "bn", "Tamil": "ta",
    "Telugu": "te", "Thai": "th", "Georgian": "ka", "Hangul": "ko", "Kana": "ja", "Han": "zh"}  # fmt: skip
# Where the scripts begin; the letters from there to the next number are of that script. "" are none of these.
_BLOCKS = [
    (0x00, ""), (0x41, "Latin"), (0x5B, ""), (0x61, "Latin"), (0x7B, ""), (0xC0, "Latin"), (0xD7, ""), (0xD8, "Latin"),
    (0xF7, ""), (0xF8, "Latin"), (0x2B0, ""), (0x370, "Greek"), (0x400, "Cyrillic"), (0x530, "Armenian"),
    (0x590, "Hebrew"), (0x600, "Arabic"), (0x700, "Other"), (0x750, "Arabic"), (0x780, "Other"), (0x8A0, "Arabic"),
    (0x900, "Devanagari"), (0x980, "Bengali"), (0xA00, "Other"), (0xB80, "Tamil"), (0xC00, "Telugu"), (0xC80, "Other"),
    (0xE00, "Thai"), (0xE80, "Other"), (0x10A0, "Georgian"), (0x1100, "Hangul"), (0x1200, "Other"), (0x1E00, "Latin"),
    (0x1F00, "Greek"), (0x2000, ""), (0x3040, "Kana"), (0x3100, "Other"), (0x3400, "Han"), (0x4DC0, ""),
    (0x4E00, "Han"), (0xA000, "Other"), (0xAC00, "Hangul"), (0xD7B0, ""), (0xF900, "Han"), (0xFB00, ""),
    (0xFB50, "Arabic"), (0xFE00, ""), (0xFF66, "Kana"), (0xFFA0, ""), (0x10000, "Other"), (0x1F000, ""),
    (0x20000, "Han"), (0x32000, ""),
]  # fmt: skip
_STARTS = np.array([start for start, _ in _BLOCKS], np.uint32)
_SCRIPTS = [script for _, script in _BLOCKS]
_BENEFIT_OF_THE_DOUBT = 2  # small words: a text with few of any language is taken for what one hopes it is
_NOWHERE = 0.02  # of the words: what a language outside the table is thought to have


class _SmallWords:
    """The small words of the languages of one script, numbered from 1, and what each counts for each language."""

    def __init__(self, languages: dict[str, str]) -> None:
        self.languages = list(languages)
        lists = [set(words.split()) for words in languages.values()]
        self.numbers = {word: number for number, word in enumerate(sorted(set().union(*lists)), 1)}
        having = np.array([[word in words for words in lists] for word in self.numbers], float)  # (words, languages)
        self.weights = np.vstack([np.zeros(len(lists)), having / having.sum(1, keepdims=True)])

    def number(self, word: str) -> int:
        """The number of a word, or of what is before its apostrophe (l'heure, it's); 0 if it is no small word."""
        return self.numbers.get(word.lower().replace("’", "'").partition("'")[0], 0)

    def found(self, text: str) -> dict[str, float]:
        """How much the small words of a text speak for each language."""
        counts = np.bincount(words_of(text).values(self.number), minlength=len(self.weights))
        return dict(zip(self.languages, (counts @ self.weights).tolist()))


_BY_SCRIPT = {script: _SmallWords(languages) for script, languages in _SMALL_WORDS.items()}


def scripts(text: str) -> dict[str, float]:
    """The share that each script has of the letters of a text."""
    if text.isascii():  # the usual case, not counted letter by letter
        return {"Latin": 1.0} if words_of(text).values(has_letter).any() else {}
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(np.searchsorted(_STARTS, points, "right") - 1, minlength=len(_STARTS))
    letters: Counter[str] = Counter()
    for script, count in zip(_SCRIPTS, counts.tolist()):
        if script and count:
            letters[script] += count
    if letters["Kana"]:  # Japanese is written in both
        letters["Kana"] += letters.pop("Han", 0)
    return {script: count / letters.total() for script, count in letters.items() if count}


def language_score(language: str, text: str) -> float:
    """How surely a text is in a language, 0 to 1: the share of its script, times how its small words outweigh others.

    A text with few words is given the benefit of the doubt.
    """
    shares = scripts(text)
    for script, small_words in _BY_SCRIPT.items():
        if language in small_words.languages:
            found = small_words.found(text)
            mine = found.pop(language) + _BENEFIT_OF_THE_DOUBT
            rival = max(found.values())
            return shares.get(script, 0.0) * mine / (mine + max(rival, _NOWHERE * len(words_of(text))))
    return next((shares.get(script, 0.0) for script, only in _ONE_LANGUAGE.items() if only == language), 0.0)


def language_of(text: str) -> tuple[str, float]:
    """The most likely language of a text (ISO 639-1; "und" if none is likely) and its score."""
    shares = scripts(text)
    if not shares:
        return "und", 0.0
    script = max(shares, key=shares.__getitem__)
    if script in _ONE_LANGUAGE:
        return _ONE_LANGUAGE[script], shares[script]
    found = _BY_SCRIPT[script].found(text) if script in _BY_SCRIPT else {"und": 0.0}
    best, weight = max(found.items(), key=lambda item: item[1])
    if weight <= _NOWHERE * len(words_of(text)):
        return "und", 0.0
    return best, language_score(best, text)


LANGUAGES = sorted({*_ONE_LANGUAGE.values(), *(code for table in _SMALL_WORDS.values() for code in table)})


def language(code: str = "en", threshold: float = 0.65) -> Limit:
    """The rule that a text is in a language."""
    if code not in LANGUAGES:
        raise ValueError(f"the language is {code}, expected one of {', '.join(LANGUAGES)}")
    return Limit("language", partial(language_score, code), "at least", threshold, "FineWeb, with a detector by hand")
