"""Rows of the user's files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import datasets

from ._sentences import from_columns, from_conllu

_READERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SHOWN = 5
_MISSING = ["", "NA", "N/A", "NaN", "nan"]  # not the whole list of pandas: "None" and "null" can be labels
_Cells = list[str] | str
"""The cells of a line, or what is wrong with it."""


def read_rows(path: str | PathLike[str]) -> datasets.Dataset:
    r"""Read a CSV, TSV, JSON, JSONL or Parquet file, or a folder written by `Dataset.save_to_disk`.

    A CSV or TSV file has a header and is UTF-8. Its lines are checked before they are read, so that no row is silently dropped,
    cut off or joined with the next one. Empty cells, and NA, N/A, NaN and nan, are missing values.

    Args:
        path: The file or folder; a leading `~` is the user's home.

    Returns:
        The rows, with the types that `datasets` finds in the whole file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: A kind of file that cannot be read, a file without rows, or a CSV file with broken lines, by number.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "reviews.csv"
        ...     written = path.write_text("review,stars\nfine,4\na waste of time\n")
        ...     read_rows(path)
        Traceback (most recent call last):
        ValueError: `path` must hold 2 fields in every line, as in its header, got line 3 (1 field) in '...reviews.csv'. ...
    """
    file = _found(path)
    rows = _read_folder(file) if file.is_dir() else _read_file(file)
    if len(rows) == 0:
        raise _no_rows(file)
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


def _read_folder(folder: Path) -> datasets.Dataset:
    rule = f"`path` must be a file, or a folder written by `Dataset.save_to_disk`, got {str(folder)!r}"
    try:
        rows = datasets.load_from_disk(str(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{rule}, another folder. Name one of its files.") from error
    if not isinstance(rows, datasets.Dataset):
        raise ValueError(f"{rule}, which holds the splits {list(rows)}. Name the folder of one of them.")
    return rows


def _read_file(file: Path) -> datasets.Dataset:
    ending = file.suffix.lower()
    if ending == ".conllu":
        return read_sentences(file)
    if ending not in _READERS:
        endings = sorted([*_READERS, ".conllu"])
        raise ValueError(f"`path` must end in one of {endings}, got {file.name!r}. Convert the file.")
    if file.stat().st_size == 0:
        raise _no_rows(file)
    options: dict[str, Any] = {}
    if ending in _SEPARATORS:
        _check_csv(file, _SEPARATORS[ending])
        # One piece: of several, the first would fix the types, and a label that first appears later would be an error.
        options = {"sep": _SEPARATORS[ending], "chunksize": None, "keep_default_na": False, "na_values": _MISSING}
    try:
        return datasets.load_dataset(_READERS[ending], data_files=str(file), split="train", **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise ValueError(
            f"`path` must hold rows that can be read, got {str(file)!r}: {error.__cause__ or error}. Correct the file."
        ) from error


def _no_rows(file: Path) -> ValueError:
    return ValueError(f"`path` must hold rows, got none in {str(file)!r}. Add some, or name another file.")


def _check_csv(file: Path, separator: str) -> None:
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text, _fields_of_any_length():
        lines = _lines(text, separator)
        _, header = next(lines, (1, []))
        _check_header(header, file)
        number, broken = 0, []
        for number, cells in _without_blank_end(lines):
            if fault := _fault(cells, len(header)):
                broken.append(f"line {number} ({fault})")
    if not number:
        raise _no_rows(file)
    if broken:
        raise _broken(broken, len(header), separator, file)


def _lines(text: Iterator[str], separator: str) -> Iterator[tuple[int, _Cells]]:
    """Return the number of each record's first line, and its cells or what is wrong with its quotes."""
    reader = csv.reader(text, delimiter=separator, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, "a quote that is never closed" if "end of data" in str(error) else "a quote out of place"


def _without_blank_end(lines: Iterator[tuple[int, _Cells]]) -> Iterator[tuple[int, _Cells]]:
    """Leave out the blank lines at the end of a file."""
    held = []
    for line in lines:
        held.append(line)
        if not _is_blank(line[1]):
            yield from held
            held.clear()


def _is_blank(cells: _Cells) -> bool:
    return not cells or (len(cells) == 1 and cells[0].isspace())


def _fault(cells: _Cells, width: int) -> str | None:
    """Return what is wrong with a line that must have so many cells; None where nothing is."""
    if isinstance(cells, str):
        return cells
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return "bytes that are not UTF-8"
    if _is_blank(cells):
        return "blank"
    return None if len(cells) == width else f"{len(cells)} {_fields(len(cells))}"


def _fields(count: int) -> str:
    return "field" if count == 1 else "fields"


def _check_header(header: _Cells, file: Path) -> None:
    fault = _fault(header, len(header))
    if fault is None and not all(name.strip() for name in header):
        fault = f"an empty name in {header}"
    elif fault is None and (doubled := sorted({name for name in header if list(header).count(name) > 1})):
        fault = f"{doubled} more than once"
    if fault:
        raise ValueError(
            f"`path` must name each column once in its first line, got {fault} in {str(file)!r}. Name the columns, in "
            "UTF-8 (pandas writes no name for its index: `to_csv(path, index=False)` leaves that out)."
        )


def _broken(lines: list[str], width: int, separator: str, file: Path) -> ValueError:
    more = f" and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
    mark = {",": "comma", "\t": "tab"}[separator]
    return ValueError(
        f"`path` must hold {width} {_fields(width)} in every line, as in its header, got "
        f"{', '.join(lines[:_SHOWN])}{more} in {str(file)!r}. Correct these lines: save the file as UTF-8, put a field that "
        f'holds a {mark}, a quote or a line break into quotes ("), and double the quotes within it.'
    )


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lift the limit of the csv module, which rejects a text of more than 131,072 characters."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
