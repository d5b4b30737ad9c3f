"""Words of all scripts: marks belong to their letters."""

from __future__ import annotations

import unicodedata

import pytest

from lightning_mtl import Vocabulary
from lightning_mtl.encoders import HashTokenizer

TEXTS = {
    "Hindi": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "Bengali": "\u09ac\u09be\u0982\u09b2\u09be \u09ad\u09be\u09b7\u09be",
    "Malayalam": "\u0d2e\u0d32\u0d2f\u0d3e\u0d33\u0d02 \u0d28\u0d32\u0d4d\u0d32",
    "Hebrew with points": "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05b9\u05dc\u05b8\u05dd",
    "Persian with a joiner": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0628\u0631\u0648\u0645",
    "Vietnamese": "ti\u1ebfng Vi\u1ec7t",
    "Korean": "\ud55c\uad6d\uc5b4 \uac00\uc790",
    "Turkish": "I\u0307zmir \u0130zmit",
    "soft hyphens": "re\u00adsume\u0301 caf\u00e9",
}


@pytest.mark.parametrize("script", TEXTS)
def test_words_are_whole_in_every_normal_form(script: str) -> None:
    forms = [unicodedata.normalize(form, TEXTS[script]) for form in ("NFC", "NFD")]
    made = [HashTokenizer(pairs=False).read(text) for text in forms]
    assert made[0] == made[1]
    assert len(made[0]) == 2
    vocabulary = Vocabulary(10).fit(forms)
    assert len(vocabulary.known or ()) == 2
    assert vocabulary.words([form.split() for form in forms])["words"] == [[0, 1], [0, 1]]


def test_capital_letters_of_turkish_are_small_ones() -> None:
    read = HashTokenizer(pairs=False).read
    assert read("\u0130zmir") == read("izmir") == ["izmir"]


def test_symbols_keep_their_marks_and_words_beside_them_stay_whole() -> None:
    assert HashTokenizer(pairs=False).read("\u2764\ufe0flove, \U0001f469\u200d\U0001f680!") == [
        "\u2764\ufe0f",
        "love",
        ",",
        "\U0001f469\u200d\U0001f680",
        "!",
    ]


@pytest.mark.parametrize("make", [HashTokenizer, Vocabulary])
def test_a_tokenizer_of_an_older_checkpoint_cuts_as_it_did(make: type[HashTokenizer] | type[Vocabulary]) -> None:
    text = TEXTS["Hindi"]
    new = make(50, pairs=False)
    old = make.from_description({**{"known": None}, **{k: v for k, v in new.description().items() if k != "cut"}})
    again = make.from_description(old.description())
    assert len(new.read(text)) == 2
    assert old.read(text) == again.read(text) != new.read(text)
    assert old.read("plain words, as ever") == new.read("plain words, as ever")
