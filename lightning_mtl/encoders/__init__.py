"""Encoders: one kind of sharing per file, and the trunks that they share."""

from ._bag_of_words import BagOfWords
from ._base import Encoder, Features, Tokenizer
from ._hard_sharing import HardSharing
from ._hashing import HashTokenizer
from ._hugging_face import HuggingFace
from ._recurrent import Recurrent

__all__ = [
    "Encoder",
    "HardSharing",
    "BagOfWords",
    "Recurrent",
    "HuggingFace",
    "HashTokenizer",
    "Tokenizer",
    "Features",
]
