"""Sentences from lines: a line for each word, and a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of CoNLL-U (universaldependencies.org/format.html)."""
_KEPT = ("form", "lemma", "upos", "xpos", "feats", "head", "deprel")
_UNDERSCORE_IS_MISSING = ("lemma", "upos", "xpos", "deprel")
"""Columns in which "_" means that the value is missing; in `feats` it means that a word has no features."""
_SHOWN = 5
_DOCUMENT = "-DOCSTART-"
_OF_SPAN = re.compile(r"([BIOESLUM]-.|O$)")

Line = tuple[int, str]
"""Its number, and its text."""
Word = tuple[int, list[str]]
"""The number of a word's line, and the fields of the word."""
Sentence = dict[str, list[Any]]
"""The columns of a sentence, a value for each word."""


def from_conllu(lines: Iterable[bytes], where: str) -> list[Sentence]:
    """Read CoNLL-U; comments, ranges of words (1-2) and empty nodes (1.1) are left out.

    Raises:
        ValueError: Broken lines, by number.
    """
    reader = _Reader(lines, where)
    plain = ((number, text) for number, text in reader.lines() if not text.startswith("#"))
    words = (list(filter(_is_word, reader.split(group, "\t", len(CONLLU)))) for group in _groups(plain))
    made = [_sentence(group, reader.fault) for group in words if group]
    reader.refuse("ten fields with tabs between in each line of a word, the words of a sentence numbered from 1")
    known = {name for name in _KEPT if any(value is not None for sentence in made for value in sentence[name])}
    return [{name: sentence[name] for name in _KEPT if name in known} for sentence in made]


def from_columns(lines: Iterable[bytes], names: Sequence[str], where: str) -> list[Sentence]:
    """Read columns that are separated by tabs, or else blanks: a word, and its labels; an empty field is a missing label.

    Comments before a sentence ("# id = 5"), and marks of documents ("-DOCSTART-"), are left out.

    Raises:
        ValueError: Broken lines, by number.
    """
    reader = _Reader(lines, where)
    read = list(reader.lines())
    separator = "\t" if any("\t" in text for _, text in read if not _may_be_comment(text)) else None
    labels = {
        text.split(separator)[-1] for _, text in read if text.strip() and not _may_be_comment(text)
    }  # a comment's last field is none of them
    plain = [_without_comments(group, separator, len(names), labels) for group in _groups(read)]
    groups = [made for group in plain if (made := reader.split(group, separator, len(names))) or group]
    for number, cells in (word for group in groups for word in group if not word[1][0].strip()):
        reader.fault(number, f"no word beside {cells[1:]}")
    reader.refuse(f"{len(names)} fields ({', '.join(names)}) with tabs or blanks between in each line of a word")
    return [
        {name: [cells[place] or None for _, cells in group] for place, name in enumerate(names)} for group in groups
    ]


def _may_be_comment(text: str) -> bool:
    return text.startswith("# ")


def _without_comments(group: list[Line], separator: str | None, width: int, labels: set[str]) -> list[Line]:
    """Return the lines of a group without marks of documents, and without the comments at its start.

    A line such as "# O" is a word, if its last field is a label that other words have, or one of a span.
    """
    kept = [(number, text) for number, text in group if text.split(separator)[0] != _DOCUMENT]
    while kept and _may_be_comment(kept[0][1]):
        cells = kept[0][1].split(separator)
        if len(cells) == width and (cells[-1] in labels or _OF_SPAN.match(cells[-1])):
            break
        del kept[0]
    return kept


class _Reader:
    """Splits lines, and collects which are broken."""

    def __init__(self, lines: Iterable[bytes], where: str) -> None:
        self.raw = lines
        self.where = where
        self.faults: list[tuple[int, str]] = []

    def fault(self, number: int, says: str) -> None:
        self.faults.append((number, says))

    def lines(self) -> Iterator[Line]:
        for number, line in enumerate(self.raw, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                self.fault(number, "bytes that are not UTF-8")

    def split(self, group: Iterable[Line], separator: str | None, width: int) -> list[Word]:
        words = [(number, text.split(separator)) for number, text in group]
        for number, cells in words:
            if len(cells) != width:
                self.fault(number, f"{len(cells)} field{'s' * (len(cells) != 1)}")
        return [(number, cells) for number, cells in words if len(cells) == width]

    def refuse(self, rule: str) -> None:
        if self.faults:
            shown = [f"line {number} ({says})" for number, says in sorted(self.faults)]
            more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
            raise ValueError(
                f"`path` must hold {rule}, and a blank line between sentences, got {', '.join(shown[:_SHOWN])}{more} in "
                f"{self.where!r}. Correct these lines."
            )


def _groups(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Return the lines between blank ones, group by group."""
    group: list[Line] = []
    for number, text in lines:
        if text.strip():
            group.append((number, text))
        elif group:
            yield group
            group = []
    if group:
        yield group


def _is_word(word: Word) -> bool:
    return "-" not in word[1][0] and "." not in word[1][0]


def _sentence(words: Sequence[Word], fault: Callable[[int, str], None]) -> Sentence:
    """Return the columns of a sentence in CoNLL-U; `fault` takes the number of a broken line, and what is wrong with it."""
    columns: Sentence = {name: [] for name in _KEPT}
    for due, (number, cells) in enumerate(words, 1):
        fields: dict[str, Any] = dict(zip(CONLLU, cells, strict=True))
        if fields["id"] != str(due):
            fault(number, f"word {fields['id']!r} where {due} was due")
        fields |= {name: None for name in _UNDERSCORE_IS_MISSING if fields[name] in ("_", "")}
        fields["head"] = _head(fields["head"], due, len(words), partial(fault, number))
        for name in _KEPT:
            columns[name].append(fields[name])
    return columns


def _head(text: str, own: int, count: int, fault: Callable[[str], None]) -> int | None:
    if text in ("_", ""):
        return None
    if text.isdecimal() and int(text) <= count and int(text) != own:
        return int(text)
    fault(f"head {text!r} of word {own} of {count}")
    return None
