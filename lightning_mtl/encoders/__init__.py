"""Encoders: one kind of sharing per file, and the trunks that they share."""

from ._bag_of_words import BagOfWords
from ._base import Encoder, Features, Tokenizer
from ._hard_sharing import HardSharing
from ._hashing import HashTokenizer
from ._hugging_face import HuggingFace
from ._recurrent import Recurrent
from ._tabular import Tabular
from ._vocabulary import Vocabulary
from ._word_tokenizer import WordTokenizer

__all__ = [
    "Encoder",
    "HardSharing",
    "BagOfWords",
    "Recurrent",
    "HuggingFace",
    "Tabular",
    "HashTokenizer",
    "Vocabulary",
    "WordTokenizer",
    "Tokenizer",
    "Features",
]
