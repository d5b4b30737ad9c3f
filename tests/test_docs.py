"""The code of the pages in docs/ runs, and prints what the pages say."""

from __future__ import annotations

import io
import logging
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests import ROOT

SLOW = ["balancing.md", "monitors.md"]
PAGES = [
    pytest.param(path, marks=[pytest.mark.slow] * (path.name in SLOW), id=path.name)
    for path in sorted((ROOT / "docs").glob("*.md"))
]
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?"


def blocks(page: str) -> list[tuple[str, str, str]]:
    """Give each block of code, with where it stands and what the page says that it prints."""
    found = list(re.finditer(r"```python\n(.*?)```(?:\s*```text\n(.*?)```)?", page, re.DOTALL))
    return [(f"line {page[: of.start()].count(chr(10)) + 1}", of[1], of[2] or "") for of in found]


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(NUMBER, text)]


def words(text: str) -> list[str]:
    """Give what is no number, without the widths of columns."""
    return re.sub(r"[-━─\s]+", " ", re.sub(NUMBER, "#", text)).split()


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # a resumed run writes on in it
@pytest.mark.parametrize("path", PAGES)
def test_a_page_prints_what_it_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    # pytest catches every record, and torch then writes down each step of an export.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    names: dict[str, object] = {"__name__": "page"}
    for place, code, told in blocks(path.read_text()):
        said = io.StringIO()
        with redirect_stdout(said):
            exec(compile(code, f"{path.name}, {place}", "exec"), names)
        assert words(said.getvalue()) == words(told), place
        # The same figures on other processors and threads, to what their rounding leaves.
        assert numbers(said.getvalue()) == pytest.approx(numbers(told), abs=0.06, rel=0.05), place
