"""The user's files as rows."""

from ._files import read_rows, read_sentences

__all__ = [
    "read_rows",
    "read_sentences",
]
