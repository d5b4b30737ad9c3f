"""Rows of the user's files."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from ._cells import OTHER_ENCODINGS, Cells, CellsError, Way
from ._json import table_of_json
from ._kept import kept
from ._rows import rows_of_table, settled_rows
from ._sentences import from_columns, from_conllu
from ._table_of_csv import table_of_csv

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_ENDINGS = [".conllu", ".csv", ".json", ".jsonl", ".parquet", ".tsv"]
_NOT_YET = "not yet"
"""The fingerprint of rows before they get that of their file."""
_BYTE_ORDER = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def read_rows(path: str | PathLike[str], *, cells: Cells | None = None) -> datasets.Dataset:
    r"""Read a CSV, TSV, JSON, JSONL or Parquet file, or a folder written by `Dataset.save_to_disk`.

    A column has the type that all of its cells show. In a CSV or TSV file, which has a header, lines are checked, so that no row is
    silently dropped, cut off or joined with the next one; empty cells are missing values, and so are NA, NULL, ? and the like among
    numbers (see `Cells`). Where the first line shows it, fields are separated by semicolons, tabs or bars, and numbers may have
    decimal commas. Lines that repeat the header, and the index of a data frame that has no name, are left out.

    Args:
        path: The file or folder; a leading `~` is the user's home. Brackets and the like in its name are letters.
        cells: What cells mean that can be read in two ways. Default: as they surely are.

    Returns:
        The rows. They are kept in the cache of `datasets`, under a hash of the file's content.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A kind of file that cannot be read, a file without rows, broken lines, by number, or a column with values of
            several kinds.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "reviews.csv"
        ...     written = path.write_text("review,stars\nfine,4\na waste of time\n")
        ...     try:
        ...         read_rows(path)
        ...     except ValueError as error:
        ...         print(error)
        `path` must hold 2 fields in every line, as in its header, got line 3 (1 field) in '...reviews.csv'. ...
    """
    file = _found(path)
    rows = _read_folder(file, cells or Cells()) if file.is_dir() else _read_file(file, cells or Cells())
    if len(rows) == 0:
        raise _no_rows(file)
    if cells is not None:
        cells.refuse_unknown(rows.column_names)
    return rows


def read_sentences(path: str | PathLike[str], columns: Sequence[str] | None = None) -> datasets.Dataset:
    r"""Read a file with a line for each word and a blank line between sentences, in UTF-8.

    A file that ends in .conllu is CoNLL-U: its rows have `form`, `lemma`, `upos`, `xpos`, `feats`, `head` and `deprel`, as far as
    they are filled. Any other file has the fields that `columns` names, separated by tabs or else blanks, as in CoNLL-2003; an
    empty field is a missing label.

    Args:
        path: The file; a leading `~` is the user's home.
        columns: Names of the fields of a line; the word comes first. Default: those of CoNLL-U, or `words` and `tags`.

    Returns:
        A row for each sentence, with a list for each column.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A file without sentences, or broken lines, by number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "names.txt"
        ...     written = path.write_text("Ada\tB-PER\nslept\tO\n\nWhy\tO\n")
        ...     read_sentences(path)[:]
        {'words': [['Ada', 'slept'], ['Why']], 'tags': [['B-PER', 'O'], ['O']]}
    """
    file = _found(path)
    with file.open("rb") as lines:
        if columns is None and file.suffix.lower() == ".conllu":
            rows = from_conllu(lines, str(file))
        else:
            rows = from_columns(lines, columns or ("words", "tags"), str(file))
    if not rows:
        raise _no_rows(file)
    return datasets.Dataset.from_list(rows)


def _found(path: str | PathLike[str]) -> Path:
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(
            f"`path` must be a file that exists, got {str(path)!r} (looked in {Path.cwd()}). Check its name."
        )
    return file


def _read_folder(folder: Path, cells: Cells) -> datasets.Dataset:
    rule = f"`path` must be a file, or a folder written by `Dataset.save_to_disk`, got {str(folder)!r}"
    try:
        rows = datasets.load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{rule}, another folder. Name one of its files.") from error
    if not isinstance(rows, datasets.Dataset):
        raise ValueError(f"{rule}, which holds the splits {list(rows)}. Name the folder of one of them.")
    return settled_rows(rows, cells)


def _read_file(file: Path, cells: Cells) -> datasets.Dataset:
    ending = file.suffix.lower()
    if ending == ".conllu":
        return read_sentences(file)
    if ending not in _ENDINGS:
        raise ValueError(f"`path` must end in one of {_ENDINGS}, got {file.name!r}. Convert the file.")
    content = file.read_bytes()
    if not content:
        raise _no_rows(file)
    return kept([content, ending, repr(cells)], lambda: _made(content, file, cells))


def _made(content: bytes, file: Path, cells: Cells) -> datasets.Dataset:
    ending = file.suffix.lower()
    if ending == ".parquet":
        return _rows_of_parquet(content, file, cells)
    data = in_utf8(content, cells.encoding, file)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.find(b"\0")) + 1
        raise CellsError(
            f"`path` must be a text, got a byte of zero in line {line} of {str(file)!r}",
            [Way("encoding", "utf-16-le", "if it is UTF-16")],
            "Else it was cut short or damaged: get it again",
        )
    if ending in _SEPARATORS:
        return rows_of_table(table_of_csv(data, file, _SEPARATORS[ending], cells), None, _NOT_YET)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CellsError(
            f"`path` must be UTF-8, got other bytes in line {line} of {str(file)!r}", OTHER_ENCODINGS
        ) from error
    return rows_of_table(table_of_json(text, file, cells), cells, _NOT_YET)


def _rows_of_parquet(content: bytes, file: Path, cells: Cells) -> datasets.Dataset:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"`path` must hold rows that can be read, got {str(file)!r}: {error}. Correct the file."
        ) from error
    return rows_of_table(table, cells, _NOT_YET)


def in_utf8(content: bytes, encoding: str | None, file: Path) -> bytes:
    """Return a text file in UTF-8, without a byte order mark.

    Raises:
        ValueError: The file has another encoding.
    """
    mark = next((mark for mark in _BYTE_ORDER if content.startswith(mark)), None)
    if encoding is None and mark in (None, codecs.BOM_UTF8):
        return content.removeprefix(codecs.BOM_UTF8)
    encoding = encoding or _BYTE_ORDER[mark or b""]
    try:
        return content.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        raise ValueError(
            f"`encoding` must be that of the file, got {encoding!r} for {str(file)!r}: {error}. Name another one."
        ) from error


def _no_rows(file: Path) -> ValueError:
    return ValueError(f"`path` must hold rows, got none in {str(file)!r}. Add some, or name another file.")
