"""What the cells of a table mean, where that is not certain."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from .._checks import did_you_mean

Kind = Literal["text", "number", "list"]


@dataclass(frozen=True)
class Cells:
    """What the cells of a table mean, where that is not certain.

    Without it, cells are read as what they surely are: a column of numbers among which some cells are empty or hold NA, NULL, ? or
    the like has missing values; 36,5 is a number with a decimal comma; codes with leading zeros are texts. Where a column that a task
    or the encoder needs can be read in two ways, an error names the ways, and this class chooses one.

    Args:
        missing: Texts that mean that there is no value, beside empty cells; for all columns, or {column: texts}, where columns that
            are not named keep the default. Default: in a column of numbers the usual ones (NA, N/A, NaN, NULL, None, ?, - and
            others), in a column of texts only those that are never a text of their own (NaN, N/A, <NA>, #N/A, and NA where it is
            rare or stands without quotes beside texts in quotes).
        decimal: What stands before the decimals of numbers that are texts, "." or ","; the other one, and blanks, part the thousands.
            Default: what the columns of the file show.
        types: {column: "text", "number" or "list"}. Of a "number", a currency, a percent sign or a unit is left out, if it is the same
            in all rows.
        encoding: How the characters of a file are coded, e.g. "cp1252". Default: UTF-8, or what a byte order mark says.

    Raises:
        ValueError: Another decimal sign or type, or an encoding that Python does not know.

    Example:
        >>> Cells(missing=["?"], types={"zip": "text"}).kind_of("zip")
        'text'
    """

    missing: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    decimal: Literal[".", ","] | None = None
    types: Mapping[str, Kind] = field(default_factory=dict)
    encoding: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.missing, str):
            raise ValueError(f"`missing` must be a list of texts, got {self.missing!r}. Give [{self.missing!r}].")
        if self.decimal not in (None, ".", ","):
            raise ValueError(
                f"`decimal` must be '.' or ',', got {self.decimal!r}. Leave it out for what the file shows."
            )
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ValueError(
                    f"`encoding` must be one that Python knows, got {self.encoding!r}. Try 'cp1252' or 'latin-1'."
                ) from error
        for column, kind in self.types.items():
            if kind not in get_args(Kind):
                raise ValueError(f"`types` must be one of {list(get_args(Kind))}, got {kind!r} of column {column!r}.")

    def missing_in(self, column: str) -> list[str] | None:
        """Return the texts that mean no value in a column; None for the default."""
        given = self.missing.get(column) if isinstance(self.missing, Mapping) else self.missing
        return None if given is None else list(given)

    def kind_of(self, column: str) -> Kind | None:
        """Return the type of a column, where it is given."""
        return self.types.get(column)

    def refuse_unknown(self, columns: Iterable[str]) -> None:
        """Check that columns which are named exist.

        Raises:
            ValueError: One does not.
        """
        there = list(columns)
        named = [*self.types, *(self.missing if isinstance(self.missing, Mapping) else ())]
        for name in named:
            if name not in there:
                option = "types" if name in self.types else "missing"
                raise ValueError(
                    f"`{option}` must name columns, got {name!r}; columns are {there}. {did_you_mean(name, there)}"
                )


class Way(NamedTuple):
    """A value of an option of `Cells` that settles a doubt, and what it says."""

    option: str
    value: Any
    means: str

    def in_python(self) -> str:
        """Return how it is given in Python."""
        return f"cells=Cells({self.option}={self.value!r}) {self.means}"

    def on_command_line(self, prefix: str) -> str:
        """Return how it is given to a recipe."""
        text = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)
        quoted = text.replace("'", "'\\''")
        return f"--{prefix}.{self.option}='{quoted}' {self.means}"


class CellsError(ValueError):
    """A column whose cells can be read in two ways, or not as they should be; it says how to settle that.

    Args:
        fault: What was found.
        ways: How it can be settled.
        remedy: What else can be done.
    """

    def __init__(self, fault: str, ways: Sequence[Way] = (), remedy: str = "") -> None:
        self.fault = fault
        self.ways = list(ways)
        self.remedy = remedy
        given = " or ".join(way.in_python() for way in ways)
        super().__init__(_said(fault, f"Give `read_rows`, `split` or `Source` {given}" if given else "", remedy))

    def on_command_line(self, prefix: str) -> str:
        """Return the message with options of a recipe in place of arguments in Python."""
        given = " or ".join(way.on_command_line(prefix) for way in self.ways)
        return _said(self.fault, f"Give {given}" if given else "", self.remedy)


OTHER_ENCODINGS = [Way("encoding", "cp1252", "for what older Windows programs write ('latin-1' for those of Unix)")]
"""What bytes may mean that are no UTF-8."""


def _said(*parts: str) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)
