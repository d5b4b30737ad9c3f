"""The notebook runs from top to bottom in a kernel of its own, and shows what is stored in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests import ROOT
from tests.test_docs import numbers, words

QUICKSTART = ROOT / "notebooks" / "quickstart.ipynb"


def shown(notebook: Any) -> list[str]:
    """What each cell of code shows, less what may turn with other processors: verdicts, gains in percent, seconds."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    texts = ["".join(of.get("text") or of["data"]["text/plain"] for of in cell.outputs) for cell in code]
    return [re.sub(r"no evidence|gains|loses|delta_m.*|(?<=network)s? +<?\d+", "...", text) for text in texts]


def test_the_notebook_shows_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(QUICKSTART.parent.parent))
    stored: Any = nbformat.read(QUICKSTART, as_version=4)  # type: ignore[no-untyped-call]
    told = shown(stored)
    client = NotebookClient(stored, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    found = shown(client.execute())
    assert [words(text) for text in found] == [words(text) for text in told]
    assert numbers("".join(found)) == pytest.approx(numbers("".join(told)), abs=0.06, rel=0.1)


def test_the_notebook_holds_no_trace_of_where_it_ran() -> None:
    assert not re.search(r"/(tmp|home|root)/|/lib/python", QUICKSTART.read_text())
