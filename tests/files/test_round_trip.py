"""Any table that a program writes is read back: values are equal, or the column is named."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_mtl.files import read_rows

ROWS = st.integers(2, 6)
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\n;,\"'|\t"),
    min_size=1,
    max_size=8,
).map(lambda text: f"t{text}e")  # a text of its own: no number, no gap, no outer blank
FRACTION = st.floats(allow_nan=False, allow_infinity=False, width=64)
WHOLE = st.integers(-(2**63), 2**63 - 1)
QUICK = settings(
    max_examples=40,
    deadline=timedelta(seconds=30),
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...]) -> dict[str, list[Any]]:
    """Columns of one kind each, with gaps in some; at least one value stands in each."""
    count, of = draw(ROWS), {"text": TEXT, "fraction": FRACTION, "whole": WHOLE, "truth": st.booleans()}
    made: dict[str, list[Any]] = {}
    for place, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))):
        values: list[Any] = draw(st.lists(of[kind], min_size=count, max_size=count))
        gap = draw(st.integers(0, 2 * count))
        made[f"{kind} {place}"] = [None if row == gap and row else value for row, value in enumerate(values)]
    return made


def same(found: list[Any], written: list[Any]) -> bool:
    """Whether values are equal; a fraction may come back as the whole number that it is."""
    return all(
        a == b and (a is None) == (b is None) and isinstance(a, str) is isinstance(b, str)
        for a, b in zip(found, written, strict=True)
    )


def refuse_differences(path: Path, written: dict[str, list[Any]]) -> None:
    found = read_rows(path)
    assert found.column_names == list(written)
    for name, values in written.items():
        assert same(found[name][:], values), (name, found[name][:], values)


@given(table=tables(("text", "fraction", "whole", "truth")), index=st.booleans(), separator=st.sampled_from(",;\t|"))
@QUICK
def test_csv_of_pandas(table: dict[str, list[Any]], index: bool, separator: str) -> None:
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in table.items()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("my.tsv" if separator == "\t" else "my.csv")
        frame.sample(frac=1, random_state=0).sort_index().to_csv(path, index=index, sep=separator, quotechar='"')
        refuse_differences(path, table)


@given(table=tables(("text", "fraction", "whole")))
@QUICK
def test_csv_of_a_spreadsheet_with_decimal_commas(table: dict[str, list[Any]]) -> None:
    def cell(value: Any) -> str:
        if isinstance(value, float):
            return repr(value).replace(".", ",")
        return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else "" if value is None else str(value)

    lines = [list(table), *zip(*table.values(), strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my.csv"
        text = "".join(";".join(map(cell, line)) + "\r\n" for line in lines)
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        if len(table) > 1:  # one column alone shows no separator
            refuse_differences(path, table)


@given(table=tables(("text", "fraction", "whole", "truth")), lines=st.booleans())
@QUICK
def test_json(table: dict[str, list[Any]], lines: bool) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("my.jsonl" if lines else "my.json")
        path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
        refuse_differences(path, table)


@given(table=tables(("text", "fraction", "whole", "truth")), size=st.integers(1, 3), pandas=st.booleans())
@QUICK
def test_parquet(table: dict[str, list[Any]], size: int, pandas: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "my.parquet"
        if pandas:
            typed = {"text": "string", "fraction": "Float64", "whole": "Int64", "truth": "boolean"}
            made = {name: pd.array(values, dtype=typed[name.split()[0]]) for name, values in table.items()}
            frame = pd.DataFrame(made)
            frame.set_index(frame.index[::-1]).to_parquet(path)
        else:
            pq.write_table(pa.table(table), path, row_group_size=size)
        refuse_differences(path, table)
