"""CSV files as texts of cells: fast where the file is regular, line by line where it is not."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from ._csv_lines import MARKS, bad_header, header_of, rows_of
from ._labels import as_chunks

_QUOTE, _RETURN, _LINE = b'"'[0], b"\r"[0], b"\n"[0]
_START = 10_000
"""Characters that are looked at for the separator."""


@dataclass
class CsvText:
    """A CSV file that was read into memory, as UTF-8.

    Args:
        data: Its bytes.
        file: Where it comes from, for error messages.
        separator: What stands between fields; None for what the file shows.
    """

    data: bytes
    file: Path
    separator: str

    def __post_init__(self) -> None:
        if self.data[:4].lower() == b"sep=":  # a hint for Excel
            first, _, self.data = self.data.partition(b"\n")
            self.separator = first[4:].decode("utf-8", "replace").strip("\r\n") or "\t"
        self.data = _without_blank_lines(self.data)
        if b"\r" in self.data and b"\n" not in self.data:  # as on old Macs
            self.data = self.data.replace(b"\r", b"\n")
        self.separator = _separator(self.data[:_START].decode("utf-8", "surrogateescape"), self.separator)
        self.quoted = _QUOTE in self.data
        first = self.data[: self.data.find(b"\n") + 1 or None]
        text = self._text() if _QUOTE in first else first.decode("utf-8", "surrogateescape")
        names, lines = header_of(text, self.separator, self.file)
        if not names:
            raise bad_header("blank", self.file)
        self.names = names
        self.begin = _end_of_lines(self.data, lines)

    def _text(self) -> str:
        return self.data.decode("utf-8", "surrogateescape")

    def read(self, types: dict[int, Any] | None = None, absent: list[str] | None = None) -> list[Any]:
        """Return the cells of each column, as texts, or of the given types where that goes without saying.

        Args:
            types: {column: type of Arrow} to read at once.
            absent: Texts that mean that there is no value, in columns of these types.

        Raises:
            ValueError: The file has broken lines, with their numbers.
        """
        if self.begin >= len(self.data):
            return [pa.chunked_array([pa.array([], pa.string())]) for _ in self.names]
        if self._is_regular():
            for asked in [types, {}] if types else [{}]:
                try:
                    return self._at_once(asked or {}, absent or [])
                except pa.ArrowInvalid:
                    continue
        rows = rows_of(self._text(), len(self.names), self.separator, self.file)
        self.quoted = False  # the csv module does not tell
        return [as_chunks(pa.array(column, pa.string())) for column in zip(*rows, strict=True)]

    def start(self, rows: int) -> list[Any]:
        """Return the cells of the first rows as texts; none where that takes reading more."""
        place = self.begin - 1
        for _ in range(rows):
            place = self.data.find(b"\n", place + 1)
            if place < 0:
                break
        end = place + 1 or len(self.data)
        try:
            return list(self._arrow(arrow_csv.ConvertOptions(column_types=self._texts()), end).columns)
        except pa.ArrowInvalid:
            return []

    def _texts(self) -> dict[str, Any]:
        return {str(i): pa.string() for i in range(len(self.names))}

    def bare(self, column: int, texts: list[str]) -> Any:
        """Return which cells of a column hold one of these texts without quotes."""
        options = arrow_csv.ConvertOptions(
            include_columns=[str(column)],
            column_types={str(column): pa.string()},
            null_values=texts,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        return pc.is_null(self._arrow(options).column(0))

    def _at_once(self, types: dict[int, Any], absent: list[str]) -> list[Any]:
        kinds = self._texts() | {str(i): kind for i, kind in types.items()}
        table = self._arrow(arrow_csv.ConvertOptions(column_types=kinds, null_values=absent))
        if len(self.names) == 1 and not types and pc.any(pc.match_substring_regex(table.column(0), r"^\s*$")).as_py():
            raise pa.ArrowInvalid("a blank line, or an empty cell")
        return list(table.columns)

    def _arrow(self, options: arrow_csv.ConvertOptions, end: int | None = None) -> pa.Table:
        body = pa.py_buffer(self.data).slice(self.begin, (end or len(self.data)) - self.begin)
        longest = max(map(len, self.data[:1_000_000].split(b"\n"))) if self.quoted else 0
        names = [str(i) for i in range(len(self.names))]
        return arrow_csv.read_csv(
            pa.BufferReader(body),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=max(1 << 22, 4 * longest)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self.separator, newlines_in_values=self.quoted, ignore_empty_lines=False
            ),
            convert_options=options,
        )

    def _is_regular(self) -> bool:
        """Return whether quotes stand where they must, so that no row can be joined with the next one, and no line is blank."""
        returns = b"\r" in self.data
        if b"\0" in self.data or (returns and self.data.count(b"\r") != self.data.count(b"\r\n")):
            return False
        marks = [b"\n\n", b"\n\r\n"][: 1 + returns]
        blank = any(self.data.find(mark, max(self.begin - 1, 0)) >= 0 for mark in marks)
        if not self.quoted:
            return not blank
        body = b"\n" + self.data[self.begin :] + b"\n"
        return _quotes_are_regular(np.frombuffer(body, np.uint8), ord(self.separator), look_for_blanks=blank)


def _quotes_are_regular(text: np.ndarray, separator: int, *, look_for_blanks: bool) -> bool:
    places = np.flatnonzero(text == _QUOTE)
    if len(places) % 2:
        return False
    before, after = text[places[0::2] - 1], text[places[1::2] + 1]
    if look_for_blanks:
        ends = np.flatnonzero(text == _LINE)
        follows = text[ends[:-1] + 1]
        follows = np.where(follows == _RETURN, text[np.minimum(ends[:-1] + 2, len(text) - 1)], follows)
        blank = ends[:-1][follows == _LINE]
        blank = blank[blank < len(text) - 3]  # the end that was added
        if (np.searchsorted(places, blank) % 2 == 0).any():
            return False
    opens = np.isin(before, [separator, _LINE, _QUOTE]).all()
    return bool(opens and np.isin(after, [separator, _LINE, _RETURN, _QUOTE]).all())


def _separator(start: str, usual: str) -> str:
    """Return the separator of the first lines: the usual one, unless the first line has none of it, but another one."""
    if usual not in MARKS:
        usual = ","
    lines = start.splitlines()[:20]
    widths = {mark: _widths(lines, mark) for mark in MARKS}
    if not lines or widths[usual][0] > 1:
        own, others = widths[usual], [mark for mark in MARKS if mark != usual and widths[mark][0] > 1]
        uneven = len(set(own)) > 1
        even = [mark for mark in others if uneven and len(set(widths[mark])) == 1 and len(lines) > 1]
        return even[0] if len(even) == 1 else usual
    found = [mark for mark in MARKS if mark != usual and widths[mark][0] > 1]
    even = [mark for mark in found if len(set(widths[mark])) == 1]
    return (even or found or [usual])[0]


def _widths(lines: list[str], mark: str) -> list[int]:
    """Return how many fields each line has; the last one may be cut."""
    whole = lines[:-1] if len(lines) > 2 else lines
    try:
        return [len(cells) for cells in csv.reader(StringIO("\n".join(whole)), delimiter=mark)] or [0]
    except csv.Error:
        return [0]


def _without_blank_lines(data: bytes) -> bytes:
    """Return a file without the blank lines at its end."""
    end = len(data)
    while (place := data.rfind(b"\n", 0, end - 1)) >= 0 and not data[place + 1 : end].strip(b" \r\n"):
        end = place + 1
    return data[:end]


def _end_of_lines(data: bytes, lines: int) -> int:
    place = 0
    for _ in range(lines):
        place = data.find(b"\n", place) + 1
        if place == 0:
            return len(data)
    return place
