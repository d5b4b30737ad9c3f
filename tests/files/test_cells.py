"""Cells of files and programs: read as what they surely are, or named with the option that settles it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from lightning_mtl import Cells, HardSharing, MultiTaskDataModule, MultiTaskModule, Source, Tabular, Task, split
from lightning_mtl.data import refuse_doubtful
from lightning_mtl.files import CellsError, read_rows
from lightning_mtl.recipes.data import feature_columns
from lightning_mtl.recipes.table import Rows
from tests.models import head, quiet


def read(folder: Path, content: str | bytes, name: str = "my.csv", cells: Cells | None = None) -> dict[str, list[Any]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found: dict[str, list[Any]] = read_rows(path, cells=cells)[:]
    return found


# What is certain

CERTAIN: dict[str, tuple[str, Any]] = {
    "decimal commas": ('n\tt\n36,5\tx\n-7\ty\n"1.234,25"\tz\n', [36.5, -7, 1234.25]),
    "thousands": ("n\tt\n1,234.5\tx\n12\ty\n1,234,567\tz\n", [1234.5, 12, 1234567]),
    "thin blanks between thousands": ("n\tt\n1\u202f234,5\tx\n12\ty\n3\tz\n", [1234.5, 12, 3]),
    "a typographic minus": ("n\tt\n\u22125\tx\n5\ty\n0\tz\n", [-5, 5, 0]),
    "signs for nothing among numbers": ("n\tt\n?\tx\n1\ty\n2\tz\n", [None, 1, 2]),
    "words for nothing among numbers": ("n\tt\nNULL\tx\n1.5\ty\nn/a\tz\n2\tz\n3\tz\n", [None, 1.5, None, 2, 3]),
    "codes": ("n\tt\n01067\tx\n80331\ty\n99084\tz\n", ["01067", "80331", "99084"]),
    "whole numbers stay whole beside gaps": ("n\tt\n9007199254740993\tx\n\ty\n1\tz\n", [9007199254740993, None, 1]),
    "whole numbers that no type holds": (
        "n\tt\n123456789012345678901\tx\n5\ty\n6\tz\n",
        ["123456789012345678901", "5", "6"],
    ),
    "no numbers": ("n\tt\n0x10\tx\n1_000\ty\n5\tz\n", ["0x10", "1_000", "5"]),
    "truth values": ("n\tt\nTRUE\tx\nfalse\ty\n\tz\n", [True, False, None]),
    "yes is a text": ("n\tt\nyes\tx\nno\ty\n\tz\n", ["yes", "no", None]),
    "lists": ("n\tt\n[1, 2]\tx\n[]\ty\n[3]\tz\n", [[1, 2], [], [3]]),
    "lists of Python": ("n\tt\n['a', \"b's\"]\tx\n[]\ty\n['c']\tz\n", [["a", "b's"], [], ["c"]]),
    "dates are texts": ("n\tt\n2024-05-31\tx\n2024-06-01\ty\n\tz\n", ["2024-05-31", "2024-06-01", None]),
    "blanks around": ("n \tt\n yes\tx\nyes \ty\nyes\tz\n", ["yes", "yes", "yes"]),
    "one letter in two forms": ("n\tt\ncafe\u0301\tx\ncaf\u00e9\ty\nbar\tz\n", ["caf\u00e9", "caf\u00e9", "bar"]),
    "quotes of texts": ('n\tt\n"? or ""!"""\tx\n"a\n\nb"\ty\nc\tz\n', ['? or "!"', "a\n\nb", "c"]),
}


@pytest.mark.parametrize("kind", CERTAIN)
def test_what_is_certain_is_read_so(kind: str, tmp_path: Path) -> None:
    content, values = CERTAIN[kind]
    assert read(tmp_path, content, "my.tsv")["n"] == values


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a;b\n1,5;x\n2;y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}),
        ("a;b\n1,234;x\n0,5;y\n", {"a": [1.234, 0.5], "b": ["x", "y"]}),
        ("a|b\n1.5|x\n2|y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}),
        ("sep=;\r\na;b\r\n1;x\r\n", {"a": [1], "b": ["x"]}),
        ("note,n\na;b,1\nc,2\n", {"note": ["a;b", "c"], "n": [1, 2]}),
        ("a,b\r1,x\r2,y\r", {"a": [1, 2], "b": ["x", "y"]}),
        ("a , b\n1, x\n2, y\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("a,b,\n1,x,\n2,y,\n", {"a": [1, 2], "b": ["x", "y"]}),
        ("a,b\n1,x\na,b\n2,y\n", {"a": [1, 2], "b": ["x", "y"]}),
        (",a\n2,x\n0,y\n", {"a": ["x", "y"]}),
        (",,a\n0,0,x\n0,1,y\n1,0,z\n", {"a": ["x", "y", "z"]}),
        ("Unnamed: 0.1,Unnamed: 0,a\n0,7,x\n1,3,y\n", {"a": ["x", "y"]}),
        ("Unnamed: 0,a\n7,x\n7,y\n", {"Unnamed: 0": [7, 7], "a": ["x", "y"]}),
        ("a,b\n\u00fc,1\n".encode("utf-16"), {"a": ["\u00fc"], "b": [1]}),
    ],
)  # fmt: skip
def test_what_programs_write_around_cells(content: str | bytes, found: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, content) == found


def test_an_index_in_parquet_is_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "c": pd.Categorical(["x", "y", "x"])}).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "my.parquet")
    assert read_rows(tmp_path / "my.parquet")[:] == {"a": frame["a"].tolist(), "c": frame["c"].tolist()}
    frame.set_index([[0, 0, 1], [0, 1, 0]]).to_parquet(tmp_path / "two.parquet")
    assert read_rows(tmp_path / "two.parquet").column_names == ["a", "c"]
    kept = datasets.Dataset.from_pandas(frame[["a"]])
    assert Source(kept).columns("train") == ["a"]


def test_features_are_no_numbers_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    numbers = draw.permutation(200)
    columns = {"row": numbers, "part": draw.choice(2000, 200, replace=False), "size": draw.integers(0, 90, 200)}
    rows = datasets.Dataset.from_dict({name: values.tolist() for name, values in columns.items()})
    assert feature_columns({"train": rows.select(range(150)), "test": rows.select(range(150, 200))}, leave_out=[]) == [
        "size"
    ]
    said = capsys.readouterr().out
    assert "'row' (whole numbers that differ in all rows" in said
    assert "'part' (whole numbers that differ in all rows" in said


def test_na_in_quotes_is_a_text_and_rare_ones_are_none(tmp_path: Path) -> None:
    codes = ["AF", "NA", "EU"] * 10
    assert read(tmp_path, "c\n" + "".join(f'"{code}"\n' for code in codes))["c"] == codes
    mixed = "".join("NA\n" if code == "NA" else f'"{code}"\n' for code in codes)
    assert read(tmp_path, "c\n" + mixed)["c"] == ["AF", None, "EU"] * 10
    assert read(tmp_path, "c,d\n" + "x,1\n" * 99 + "NA,1\n")["c"][-1] is None


# What is not certain, and how it is settled


def learn(rows: Any, target: str, features: list[str], cells: Cells | None = None) -> MultiTaskModule:
    module = MultiTaskModule([Task(target)], HardSharing(Tabular(4)))
    source = Source(rows, features=features, cells=cells)
    quiet(max_steps=1).fit(module, MultiTaskDataModule({"s": source}, summary=False))
    return module


def table(**columns: list[Any]) -> list[dict[str, Any]]:
    return [{"x": i * 7 % 41 / 4, **{name: of[i % len(of)] for name, of in columns.items()}} for i in range(60)]


DOUBTS: dict[str, tuple[list[str], str, Mapping[str, Any]]] = {
    "one comma": (["1,234", "5,678"], r"got '1,234' in row 0: with decimals, or thousands", {"decimal": ","}),
    "numbers": (["1.5", "2.5", "3.5"], r"got numbers written as texts \('1.5' in row 0\)", {"types": {"t": "number"}}),
    "numbers and gaps": (["7", "2", "?"], r"numbers \('7' in row 0\), and '\?' in row 2", {"types": {"t": "number"}}),
    "mostly numbers": (["1", "2", "3+"], r"mostly numbers, and '3\+' in row 2", {"types": {"t": "text"}}),
    "currency": (["$5", "$6.5"], r"numbers with a currency or a unit written as texts", {"types": {"t": "number"}}),
    "per cent": (["5 %", "7%"], r"numbers with a currency or a unit written as texts", {"types": {"t": "number"}}),
    "units": ([f"{i} kg" for i in range(30)], r"numbers with a currency or a unit", {"types": {"t": "number"}}),
    "lists": (["['a']", "['b', 'a']"], r"lists written as texts", {"types": {"t": "list"}}),
    "a sign for nothing": (["a", "b", "?"], r"labels .* got '\?' in 20 of 60 rows, first in row 2", {"missing": ["?"]}),
    "a word for nothing": (["a", "b", "NULL"], r"labels .* got 'NULL' in 20 of 60 rows", {"types": {"t": "text"}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOUBTS)
@pytest.mark.parametrize("container", [list, pd.DataFrame, datasets.Dataset.from_list])
def test_a_target_that_can_be_read_in_two_ways_is_named(kind: str, container: Any) -> None:
    values, says, settles = DOUBTS[kind]
    rows = container(table(t=values))
    with pytest.raises(CellsError, match=r"Column 't' must hold .*" + says + r".*Give .*cells=Cells\("):
        learn(rows, "t", ["x"])
    learn(rows, "t", ["x"], Cells(**settles))


def test_what_settles_a_doubt_is_what_is_learned() -> None:
    rows = table(t=["a", "b", "?"])
    assert head(learn(rows, "t", ["x"], Cells(missing=["?"])), "t").names == ["a", "b"]
    assert head(learn(rows, "t", ["x"], Cells(types={"t": "text"})), "t").names == ["?", "a", "b"]
    assert head(learn(table(t=[1, 2, 3]), "t", ["x"], Cells(types={"t": "text"})), "t").names == ["1", "2", "3"]
    euros = head(learn(table(t=["\u20ac 1.234,5", "\u20ac 2,5"]), "t", ["x"], Cells(types={"t": "number"})), "t")
    assert euros.learned()["mean"] == pytest.approx([(1234.5 + 2.5) / 2])


@pytest.mark.parametrize(("values", "names"), [(["1", "2"], ["1", "2"]), (["007", "010"], ["007", "010"])])
def test_texts_that_surely_are_classes_stay_texts(values: list[str], names: list[str]) -> None:
    assert head(learn(table(t=values), "t", ["x"]), "t").names == names


def test_a_feature_that_can_be_read_in_two_ways_is_named() -> None:
    rows = table(f=["1,234", "5,678"], t=["a", "b"])
    with pytest.raises(
        CellsError, match=r"Column 'f' .* cells=Cells\(decimal=','\) if it is 1\.234 or .* if it is 1234"
    ):
        Source(rows, features=["f"])
    assert Source(rows, features=["f"], cells=Cells(decimal=".")).splits["train"]["f"][:2] == [1234, 5678]
    codes = table(f=["01", "02"], t=["a", "b"])
    assert learn(codes, "t", ["f"]).inputs["s"].sizes() == {"features": 2}


def test_na_that_is_frequent_is_named_where_it_is_a_label(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("x,c\n" + "".join(f"{i / 4},{('NA', 'EU', 'AS')[i % 3]}\n" for i in range(60)))
    with pytest.raises(CellsError, match=r"'c' .* got 'NA' without quotes in 20 rows.*types={'c': 'text'}"):
        learn(split(path), "c", ["x"])
    cells = Cells(types={"c": "text"})
    assert head(learn(split(path, cells=cells), "c", ["x"], cells), "c").names == ["AS", "EU", "NA"]
    assert Source(split(path), features=["c"]).inputs(None, ["x"]).sizes() == {"features": 2}


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (
            Cells(types={"a": "number"}),
            r"'a' must hold numbers, as `types` says, got 'x' in row 1\. Give .*missing=\['x'\]",
        ),
        (Cells(types={"a": "list"}), r"'a' must hold lists .*, as `types` says \('list'\), got '1' in row 0"),
        (Cells(types={"c": "text"}), r"`types` must name columns, got 'c'; columns are \['a', 'b'\]"),
        (Cells(missing={"c": ["?"]}), r"`missing` must name columns, got 'c'"),
    ],
)
def test_what_the_user_says_must_be_so(cells: Cells, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path, "a,b\n1,2\nx,3\n", cells=cells)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"missing": "?"}, r"`missing` must be a list of texts, got '\?'\. Give \['\?'\]"),
        ({"encoding": "cp99999"}, "`encoding` must be one that Python knows"),
    ],
)
def test_what_cells_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Cells(**options)


def test_units_are_one_and_missing_numbers_can_be_numbers(tmp_path: Path) -> None:
    with pytest.raises(CellsError, match="numbers of one unit, as `types` says, got 'g', 'kg'"):
        read(tmp_path, "a,b\n5 kg,1\n300 g,2\n", cells=Cells(types={"a": "number"}))
    assert read(tmp_path, "a,b\n-999,1\n3,2\n", cells=Cells(missing=["-999"]))["a"] == [None, 3]
    assert read(tmp_path, "a,b\nNA,1\n?,2\n", cells=Cells(missing={"a": ["?"]}))["a"] == ["NA", None]
    frame = pd.DataFrame({"a": [-999.0, 1.5]})
    assert Source(frame, cells=Cells(missing=["-999"])).splits["train"]["a"][:] == [None, 1.5]


@pytest.mark.parametrize("values", [["a", 1, 2], [1, 2, "a"], [True, 2, 3]])
def test_values_of_several_kinds_are_named(values: list[Any]) -> None:
    rare = {"a": values.index("a")} if "a" in values else {"True": 0}
    ((value, row),) = rare.items()
    for rows in (table(v=values)[:3], pd.DataFrame({"v": pd.Series(values, dtype=object)})):
        with pytest.raises(ValueError, match=rf"'v' must hold .* or .*, not both; row {row} has '?{value}"):
            Source(rows)
    if "a" in values:
        assert Source(table(v=values)[:3], cells=Cells(types={"v": "text"})).splits["train"]["v"][:] == list(
            map(str, values)
        )
    assert Source(table(v=[1, None, "?"])[:3]).splits["train"]["v"][:] == [1, None, None]


# JSON: all rows say the type


@pytest.mark.parametrize(
    ("early", "late", "first"),
    [
        (None, "a", None),
        (1, 0.5, 1.0),
        ([], ["a"], []),
        ([1], [0.5], [1.0]),
        ({}, {"k": 1}, {"k": None}),
        ("", 3, None),
    ],
)
@pytest.mark.parametrize("name", ["my.jsonl", "my.json"])
def test_a_type_that_shows_late_in_json(early: Any, late: Any, first: Any, name: str, tmp_path: Path) -> None:
    rows = [{"v": early, "i": i} for i in range(300)] + [{"v": late, "i": 300, "new": "b"}]
    lines = "\n".join(map(json.dumps, rows))
    found = read(tmp_path, lines if name == "my.jsonl" else json.dumps(rows), name)
    assert (found["v"][0], found["v"][-1], found["new"][-1]) == (first, late, "b")


@pytest.mark.parametrize("orient", ["records", "split", "columns", "index", "table"])
def test_json_of_pandas(orient: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    frame.to_json(tmp_path / "my.json", orient=orient)
    assert read_rows(tmp_path / "my.json")[:] == {"a": [1.5, None], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}\n{"a": "x"}\n', r"'a' must hold texts or numbers, not both; row 1 has 'x'"),
        ('{"a": [1]}\n{"a": ["x"]}\n', r"'a' must hold values of one kind, got some of several in row 1"),
        ('{"a": 9007199254740993}\n{"a": 0.5}\n', r"'a' must hold numbers that one type holds exactly, got 9007199254740993 in row 0"),
        ('{"a": 1}\n[2]\n', "rows that are objects"),
        ('{"a": 1}\n{"a": 2', r"got line 2 \("),
        ('{"a": "\u00fc"}\n'.encode("latin-1"), r"UTF-8, got other bytes in line 1 .*encoding='cp1252'"),
    ],
)  # fmt: skip
def test_json_that_is_none(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path, content, "my.jsonl")


# Files are what they hold


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "a?.csv", "{a,b}.csv", "a[!b].jsonl", "**.parquet"])
def test_a_name_is_no_pattern(name: str, tmp_path: Path) -> None:
    other = name.translate(str.maketrans("", "", "[]*?{},!")) or "other"
    for stem, value in ((other, "other"), (name, "own")):
        rows = datasets.Dataset.from_dict({"v": [value, value]})
        kind = Path(name).suffix
        path = tmp_path / (stem if stem.endswith(kind) else stem + kind)
        {".csv": rows.to_csv, ".jsonl": rows.to_json, ".parquet": rows.to_parquet}[kind](str(path))
    assert read_rows(tmp_path / name)["v"][:] == ["own", "own"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_file_that_was_replaced_is_read_again(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"my.{kind}"
    for value in ("one", "two", "one"):
        rows = datasets.Dataset.from_dict({"v": [value] * 3})
        {"csv": rows.to_csv, "jsonl": rows.to_json, "parquet": rows.to_parquet}[kind](str(path))
        os.utime(path, (1e9, 1e9))
        found = read_rows(path)
        assert found["v"][:] == [value] * 3
        assert found.map(lambda row: {"w": row["v"]})["w"][:] == [value] * 3


def test_an_encoding_is_asked_for_and_taken(tmp_path: Path) -> None:
    content = "a,b\nGr\u00fc\u00dfe,1\n".encode("cp1252")
    with pytest.raises(ValueError, match=r"line 2 \(bytes that are not UTF-8\) .*cells=Cells\(encoding='cp1252'\)"):
        read(tmp_path, content)
    assert read(tmp_path, content, cells=Cells(encoding="cp1252")) == {"a": ["Gr\u00fc\u00dfe"], "b": [1]}
    with pytest.raises(ValueError, match=r"a byte of zero in line 1 .*encoding='utf-16-le'"):
        read(tmp_path, "a,b\n1,2\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match="`encoding` must be that of the file, got 'ascii'"):
        read(tmp_path, content, cells=Cells(encoding="ascii"))


# The command line


def test_an_error_has_options_in_place_of_arguments(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("age,price,mood\n" + "".join(f"{i * 7 % 31},${i % 9},{'ab?'[i % 3]}\n" for i in range(60)))
    with pytest.raises(CellsError) as caught:
        refuse_doubtful(read_rows(path), ["mood"], None, target=True)
    told = caught.value.on_command_line("data.cells")
    assert re.search(
        r"""'mood' .* Give --data\.cells\.missing='\["\?"\]' .* --data\.cells\.types='{"mood": "text"}'""", told
    )
    with pytest.raises(CellsError) as caught:
        Rows(str(path), targets=["mood"], cells=Cells(["?"]), features=["age", "price"])
    assert """Give --data.cells.types='{"price": "number"}'""" in caught.value.on_command_line("data.cells")
    data = Rows(str(path), targets=["mood"], cells=Cells(["?"], types={"price": "number"}))
    assert data.sources["rows"].features == ["age", "price"]
