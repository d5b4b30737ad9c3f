"""Encoders, one kind of sharing per file; trunks, which they share; and tokenizers."""

from ._bag_of_words import BagOfWords
from ._base import Encoder, Features, Tokenizer
from ._hard_sharing import HardSharing
from ._hashing import HashTokenizer
from ._hugging_face import HuggingFace
from ._hugging_face_levels import HuggingFaceLevels
from ._levelled import LevelledEncoder, State
from ._levels import Levels
from ._recurrent import Recurrent
from ._stacked_recurrent import StackedRecurrent
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
    "LevelledEncoder",
    "State",
    "StackedRecurrent",
    "Levels",
    "HuggingFaceLevels",
    "HashTokenizer",
    "Vocabulary",
    "WordTokenizer",
    "Tokenizer",
    "Features",
]
