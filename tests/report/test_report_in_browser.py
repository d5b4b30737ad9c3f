"""The page in a real browser: nothing sticks out on a phone or a desk, every figure is there, and nothing is fetched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lightning_mtl.report import write_report
from tests.report.records import comparison, records

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium"),
]
QUIET = [
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOOK = """<script>addEventListener("load", () => {
  const all = [...document.querySelectorAll("body *")];
  const sticksOut = e => !e.closest("thead") && e.getBoundingClientRect().right > innerWidth + 0.5;
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    out: all.filter(sticksOut).map(e => e.outerHTML.slice(0, 80)),
    images: [...document.images].map(i => i.complete && i.naturalWidth),
    small: all.filter(e => e.innerText && parseFloat(getComputedStyle(e).fontSize) < 12).length,
    columns: getComputedStyle(document.querySelector(".panels")).gridTemplateColumns.split(" ").length,
    fetched: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
  }), "*");
});</script>"""
FRAME = """<!doctype html><script>addEventListener("message", e => document.documentElement.dataset.seen = e.data);</script>
<iframe src="{page}" width="{width}" height="900" style="border: 0"></iframe>"""
"""A frame may be narrower than a window of the browser."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report with every figure, and names as bad as they can be; and look at it by a script at its end."""
    told = json.dumps([records(), comparison()])
    told = told.replace("relatedness", "a_name_without_any_place_to_break_it_that_is_far_too_long_for_a_phone")
    path = write_report(tmp_path_factory.mktemp("page"), *json.loads(told))
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    return path


def seen(page: Path, width: int, folder: Path) -> dict[str, Any]:
    """Open the page in a frame of this width, and read what the script saw."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(page=page.as_uri(), width=width), encoding="utf-8")
    size = ["--window-size=1400,1000", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", *QUIET, *size, "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    read: dict[str, Any] = json.loads(unescape(found[1]))
    return read


@pytest.mark.parametrize(("width", "columns"), [(360, 1), (390, 1), (1280, 3)])
def test_the_page_fits_its_window(width: int, columns: int, page: Path, tmp_path: Path) -> None:
    found = seen(page, width, tmp_path)
    assert found["width"] == width
    assert found["out"] == []
    assert found["scroll"] <= width
    assert found["columns"] == columns
    assert found["small"] == 0
    assert len(found["images"]) == len(list((page.parent / "report").glob("*.png")))
    assert all(found["images"])
    assert found["fetched"] == []
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|url\(""", page.read_text(encoding="utf-8"))
