"""Files of the user's own: nothing is dropped, cut or joined in silence."""

from __future__ import annotations

import csv
from pathlib import Path

import datasets
import pytest

from lightning_mtl.files import read_rows

ROWS = {"text": ["fine", 'a "waste", of\ntime', "Grüße"], "stars": [4, 1, 5]}


def written(folder: Path, content: str | bytes, name: str = "my.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "CSV", "json", "jsonl", "parquet", "folder"])
def test_what_was_written_is_read(kind: str, tmp_path: Path) -> None:
    rows, path = datasets.Dataset.from_dict(ROWS), tmp_path / f"my.{kind}"
    match kind:
        case "folder":
            rows.save_to_disk(str(path))
        case "parquet":
            rows.to_parquet(str(path))
        case "json" | "jsonl":
            rows.to_json(str(path))
        case _:
            rows.to_csv(str(path), sep="\t" if kind == "tsv" else ",")
    for given in (path, str(path)):
        assert read_rows(given)[:] == ROWS


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "a\n1\n")
    assert read_rows("~/my.csv")[:] == {"a": [1]}


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y",
        "a,b\r\n1,x\r\n2,y\r\n",
        "\ufeffa,b\n1,x\n2,y\n",
        "a,b\n1,x\n2,y\n\n  \n\n",
        '"a","b"\n1,"x"\n"2",y\n',
    ],
    ids=["plain", "no end", "Windows", "byte order mark", "blank end", "quoted"],
)
def test_files_that_are_whole(content: str, tmp_path: Path) -> None:
    assert read_rows(written(tmp_path, content))[:] == {"a": [1, 2], "b": ["x", "y"]}


def test_empty_cells_are_missing_values(tmp_path: Path) -> None:
    assert read_rows(written(tmp_path, "a,b\n1,\n,y\n,\n3,NA\n"))[:] == {
        "a": [1, None, None, 3],
        "b": [None, "y", None, None],
    }
    assert read_rows(written(tmp_path, 'a\nx\n""\ny\n', "one.csv"))[:] == {"a": ["x", None, "y"]}


def test_a_type_that_shows_late_is_the_type_of_the_column(tmp_path: Path) -> None:
    """`datasets` reads 10,000 rows at a time, and takes the types of the first."""
    lines = "".join(f"{i},\n" for i in range(10_500)) + "0.5,late\n"
    rows = read_rows(written(tmp_path, "number,label\n" + lines))
    assert (len(rows), rows[-1], rows[0]) == (
        10_501,
        {"number": 0.5, "label": "late"},
        {"number": 0.0, "label": None},
    )


def test_long_texts_are_read_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    assert len(read_rows(written(tmp_path, f"text\n{'x' * (before + 1)}\n"))[0]["text"]) == before + 1
    assert csv.field_size_limit() == before


def test_every_broken_line_is_found_wherever_it_stands(tmp_path: Path) -> None:
    good = ["1,x"] * 40
    for place in (0, 17, 39):
        for bad in ("1", "1,2,3", '1,"x', "1,\udcff", ""):
            lines = [*good[:place], bad, *good[place:]]
            content = "\n".join(["a,b", *lines]).encode("utf-8", "surrogateescape")
            with pytest.raises(ValueError, match=rf"got line {place + 2} \("):
                read_rows(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "a,b\n1\n1,x\n1,2,3\n",
            r"2 fields in every line, as in its header, got line 2 \(1 field\), line 4 \(3 fields\)",
        ),
        ("a,b\n1,x\n\n2,y\n", r"line 3 \(blank\) in"),
        ("a\nx\n\ny\n", r"hold 1 field in every line, as in its header, got line 3 \(blank\) in"),
        ('a,b\n1,"x\n2,y\n', r"line 2 \(a quote that is never closed\) in"),
        ('a,b\n"x,1\n"y",2\n3,z\n', r"line 2 \(a quote out of place\) in"),
        ('a,b\n"x\ny",1\n3\n', r"got line 4 \(1 field\) in"),
        ("a,b\n1,Gr\u00fc\u00dfe\n2,y\n".encode("latin-1"), r"line 2 \(bytes that are not UTF-8\) in"),
        ("a,b\n" + "1\n" * 1200, r"line 6 \(1 field\) and 1,195 more in '.*my.csv'. Correct these lines: save"),
        ("a,a,b,b\n1,2,3,4\n", r"name each column once in its first line, got \['a', 'b'\] more than once in"),
        (",b\nu,2\n", r"got an empty name in \['', 'b'\] in .*index=False"),
        ("\na,b\n1,2\n", "first line, got blank in"),
        ('a,"b\n1,2\n', "first line, got a quote that is never closed in"),
        ("Gr\u00fc\u00dfe,b\n1,2\n".encode("latin-1"), "first line, got bytes that are not UTF-8 in"),
        ("a,b\n", "hold rows, got none in"),
        ("a,b\n\n \n", "hold rows, got none in"),
        ("", "hold rows, got none in"),
        (b"\xef\xbb\xbf", "first line, got blank in"),
    ],
)
def test_broken_lines_are_named(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must .*" + says):
        read_rows(written(tmp_path, content))


def test_a_tab_separates_a_tsv(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 3 \(3 fields\) in .* holds a tab, a quote"):
        read_rows(written(tmp_path, "a\tb\n1\tx,y,z\n2\tx\ty\n", "my.tsv"))


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("none.csv", None, FileNotFoundError, r"`path` must be a file that exists, got '.*none.csv' \(looked in"),
        ("my.xlsx", "a", ValueError, "`path` must end in one of .* got 'my.xlsx'"),
        ("my.jsonl", "", ValueError, "`path` must hold rows, got none in"),
        ("my.json", "[]", ValueError, "`path` must hold rows"),
        ("my.jsonl", '{"a": 1}\n{"a"\n', ValueError, "`path` must hold rows that can be read, got '.*my.jsonl': "),
        ("my.parquet", "a,b\n", ValueError, "`path` must hold rows that can be read, got '.*my.parquet': "),
    ],
)
def test_files_that_cannot_be_read(
    name: str, content: str | None, error: type[Exception], says: str, tmp_path: Path
) -> None:
    if content is not None:
        written(tmp_path, content, name)
    with pytest.raises(error, match=says):
        read_rows(tmp_path / name)


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another folder"):
        read_rows(tmp_path)
    rows = datasets.Dataset.from_dict(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "both"))
    with pytest.raises(ValueError, match=r"holds the splits \['train', 'test'\]. Name the folder of one"):
        read_rows(tmp_path / "both")
    assert read_rows(tmp_path / "both" / "train")[:] == ROWS
