"""Splits: every row in one of them, and what belongs together stays together."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from lightning_mtl import split
from tests.cases import over

HALVES = {"train": 0.5, "test": 0.5}
SHARES = [{"train": 0.8, "validation": 0.1, "test": 0.1}, HALVES, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"train": 1.0}]


def visits(count: int = 1000) -> datasets.Dataset:
    """Rows with a number, a patient and a day, both of which come again."""
    draw = random.Random(0)
    return datasets.Dataset.from_list(
        [{"row": i, "patient": f"P{draw.randrange(200)}", "day": draw.randrange(300)} for i in range(count)]
    )


@over("shares", SHARES, ids=str)
@pytest.mark.parametrize("options", [{}, {"by": "patient"}, {"time": "day"}], ids=str)
@over("seed", [0, 7])
def test_every_row_is_in_one_split(shares: dict[str, float], options: dict[str, Any], seed: int) -> None:
    parts = split(visits(), shares, seed=seed, **options)
    assert list(parts) == list(shares)
    assert sorted(row for part in parts.values() for row in part["row"][:]) == list(range(1000))
    for name, share in shares.items():
        assert len(parts[name]) == pytest.approx(1000 * share, abs=1 if not options else 80 if "by" in options else 5)


def test_equal_values_stay_together_by_their_hash() -> None:
    for name, part in split(visits(), by="patient").items():
        places = [zlib.crc32(patient.lower().encode()) / 2**32 for patient in part["patient"][:]]
        low, high = {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}[name]
        assert low <= min(places) <= max(places) < high


def test_letter_case_and_blanks_part_nothing() -> None:
    texts = [text for i in range(50) for text in (f"text {i}", f"Text {i} ", f"TEXT {i}")]
    for seed in range(3):
        parts = split([{"text": text} for text in texts], HALVES, by="text", seed=seed)
        kinds = [{text.strip().lower() for text in part["text"][:]} for part in parts.values()]
        assert not kinds[0] & kinds[1]


@over("seed", range(5))
def test_no_time_of_a_split_reaches_the_next_one(seed: int) -> None:
    draw = random.Random(seed)
    rows = [{"day": draw.randrange(12)} for _ in range(60)]
    days = [
        part["day"][:] for part in split(rows, {"train": 0.5, "validation": 0.25, "test": 0.25}, time="day").values()
    ]
    assert all(part == sorted(part) for part in days)
    assert max(days[0]) < min(days[1]) <= max(days[1]) < min(days[2])


def test_a_cut_goes_to_the_nearer_end_of_equal_times() -> None:
    def sizes(days: list[int]) -> list[int]:
        return [len(part) for part in split([{"day": day} for day in days], HALVES, time="day").values()]

    assert sizes([0, 1, 2, 3, 4, 5]) == [3, 3]
    assert sizes([0, 1, 2, 2, 2, 3]) == [2, 4]
    assert sizes([0, 2, 2, 2, 3, 4]) == [4, 2]
    assert sizes([1, 1, 1, 1, 1, 2]) == [5, 1]


DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in (31, 3, 200, 90, -800, 1)]
EAST = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        [datetime(day.year, day.month, day.day, 5, tzinfo=EAST) for day in DAYS],
        [day.isoformat() for day in DAYS],
        [datetime(day.year, day.month, day.day).isoformat() for day in DAYS],
        [day.strftime("%Y%m%d") for day in DAYS],
        [day.toordinal() for day in DAYS],
        [day.toordinal() / 7 for day in DAYS],
    ],
    ids=["dates", "zones", "texts", "long texts", "short texts", "whole numbers", "numbers"],
)
def test_times_are_numbers_dates_or_texts(times: list[Any]) -> None:
    frame = pd.DataFrame({"row": range(6), "time": times})
    assert [part["row"][:] for part in split(frame, HALVES, time="time").values()] == [[4, 5, 1], [0, 3, 2]]


def test_texts_are_read_as_times_not_as_letters() -> None:
    texts = ["2024-05-31 23:00", "2024-06-01T01:00:00+09:00", "2024-05-31", "2024-06-01"]
    rows = [{"time": text} for text in texts]
    assert [part["time"][:] for part in split(rows, HALVES, time="time").values()] == [
        [texts[2], texts[1]],
        [texts[0], texts[3]],
    ]


@pytest.mark.parametrize("kind", ["dataset", "frame", "list", "path", "text"])
@pytest.mark.parametrize("options", [{}, {"by": "patient"}, {"time": "day"}], ids=str)
def test_rows_of_every_kind_are_split_alike(kind: str, options: dict[str, str], tmp_path: Path) -> None:
    rows = visits(100)
    rows.to_csv(str(tmp_path / "visits.csv"))
    make: dict[str, Callable[[], Any]] = {
        "dataset": lambda: rows.with_format("numpy"),
        "frame": rows.to_pandas,
        "list": rows.to_list,
        "path": lambda: tmp_path / "visits.csv",
        "text": lambda: str(tmp_path / "visits.csv"),
    }
    found = split(make[kind](), HALVES, **options)  # type: ignore[arg-type]
    expected = split(rows, HALVES, **options)  # type: ignore[arg-type]
    assert all(list(found[name]["row"]) == expected[name]["row"][:] for name in HALVES)


def test_rows_may_hold_lists() -> None:
    parts = split([{"words": ["a"] * i, "x": np.arange(2.0)} for i in range(10)])
    assert sorted(len(words) for part in parts.values() for words in part["words"]) == list(range(10))


def test_a_seed_makes_another_split_and_the_same_one_again() -> None:
    for options in ({}, {"by": "patient"}):
        made = [split(visits(), seed=seed, **options)["test"]["row"][:] for seed in (0, 0, 1, -3)]  # type: ignore[arg-type]
        assert made[0] == made[1]
        assert len({tuple(rows) for rows in made}) == 3


def test_the_draw_is_the_same_in_every_version() -> None:
    assert split(visits(20), HALVES)["test"]["row"][:] == [1, 2, 3, 5, 6, 9, 14, 16, 17, 19]


@pytest.mark.parametrize(
    ("shares", "options", "says"),
    [
        ({"train": 0.8, "test": 0.1}, {}, r"`shares` must add up to 1, got .* \(sum 0.9\)"),
        ({"train": 1.1, "test": -0.1}, {}, "`shares"),
        ({"train": 1.0, "test": 0.0}, {}, "`shares"),
        ({}, {}, "`shares"),
        (HALVES, {"by": "pateint"}, "`by` must be a column, got 'pateint'; columns are .* Did you mean 'patient'?"),
        (HALVES, {"time": "zzz"}, "`time` must be a column, got 'zzz'; columns are .* Name one of these"),
        (HALVES, {"by": "patient", "time": "day"}, "`by` and `time` must not both be given, got 'patient' and 'day'"),
        (
            HALVES,
            {"time": "gap"},
            "`time` must be a column that has a value in every row, got 'gap' with None in row 2",
        ),
        (HALVES, {"by": "gap"}, "`by` must be a column that has a value in every row, got 'gap' with None in row 2"),
        (HALVES, {"by": "nan"}, "`by` must be a column that has a value in every row, got 'nan' with nan in row 1"),
        (HALVES, {"time": "patient"}, "dates or ISO texts .* got 'patient' with 'a' in row 0. Convert it"),
        (HALVES, {"time": "german"}, "got 'german' with '31.05.2024' in row 1"),
        (HALVES, {"time": "same"}, r"`shares` must leave rows for each split, got none for \['train'\] of 4 rows"),
        (HALVES, {"by": "same"}, r"got none for \['.*'\] of 4 rows. .* or another `seed`"),
        ({"train": 0.9, "test": 0.1}, {}, r"got none for \['test'\] of 4 rows. Give more rows or a larger share\."),
    ],
)
def test_what_cannot_be_split(shares: dict[str, float], options: dict[str, str], says: str) -> None:
    rows = datasets.Dataset.from_dict(
        {
            "patient": ["a", "b", "c", "d"],
            "day": [1, 2, 3, 4],
            "gap": ["2024", "2023", None, "2022"],
            "nan": [1.0, float("nan"), 2.0, 3.0],
            "german": ["2024-05-31", "31.05.2024", "2024-05-31", "2024-05-31"],
            "same": [1, 1, 1, 1],
        }
    )
    with pytest.raises(ValueError, match=says):
        split(rows, shares, **options)  # type: ignore[arg-type]


def test_what_holds_no_rows() -> None:
    rows: Any = datasets.DatasetDict({"train": visits(10)})
    with pytest.raises(TypeError, match=r"`rows` must be one dataset, got DatasetDict of \['train'\]"):
        split(rows)
    with pytest.raises(ValueError, match=r"got none for \['train', 'validation', 'test'\] of 0 rows"):
        split(pd.DataFrame({"a": []}))
