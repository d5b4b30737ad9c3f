"""The packages of recipes' data: found where pip would look, and not run before their hash is known."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lightning_mtl.recipes.data import _files

BACKEND = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n"


def source_package(folder: Path, name: str = "some_data-1.0", more: str = "") -> bytes:
    """Write a source package whose build leaves a mark beside it."""
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'own'\nbackend-path = ['.']\n",
        "own.py": BACKEND.format(mark=str(folder / "ran")),
        "PKG-INFO": "Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n" + more,
    }
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            info = tarfile.TarInfo(f"{name}/{file}")
            info.size = len(text)
            archive.addfile(info, BytesIO(text.encode()))
    return path.read_bytes()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know of no place."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")


def test_nothing_of_a_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = source_package(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert _files.fetch_source("Some.Data", "1.0", digest(content)) == content
    with pytest.raises(ValueError, match=r"some_data-1\.0\.tar\.gz must have the SHA-256 00, got "):
        _files.fetch_source("some-data", "1.0", "00")
    with pytest.raises(ConnectionError, match=r"--data\.path=my\.csv"):
        _files.fetch_source("some-data", "2.0", "00")
    with pytest.raises(ConnectionError, match="could not be fetched"):  # there is no wheel
        _files.fetch("some-data", "1.0", digest(content), tmp_path / "in")
    assert not (tmp_path / "ran").exists()


def test_a_wheel_that_was_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "some_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n")
        wheel.writestr(
            "some_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("some_data-1.0.dist-info/RECORD", "")
        wheel.writestr("rows.csv", "a\n1\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = digest((tmp_path / "some_data-1.0-py3-none-any.whl").read_bytes())
    found = _files.fetch_member("some-data", "1.0", wanted, "rows.csv", tmp_path / "one")
    assert found.read_text() == "a\n1\n"
    with pytest.raises(ValueError, match=r"some_data-1\.0-py3-none-any\.whl must have the SHA-256 00, got "):
        _files.fetch("some-data", "1.0", "00", tmp_path / "two")


class Index(BaseHTTPRequestHandler):
    """An index that asks for a password, and has another file under the name too."""

    def __init__(self, files: dict[str, bytes], *args: Any) -> None:
        self.files = files
        super().__init__(*args)

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Basic bWU6c2VjcmV0"
        self.send_response(401 if not known else 200 if self.path in self.files else 404)
        self.end_headers()
        if known:
            self.wfile.write(self.files.get(self.path, b""))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def test_a_private_index_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, other = source_package(tmp_path), source_package(tmp_path, more="Summary: other\n")
    page = f"<a href='../../files/one/some_data-1.0.tar.gz#sha256={digest(other)}'>x</a><a href='/files/two/some_data-1.0.tar.gz'>x</a>"
    files = {
        "/simple/some-data/": page.encode(),
        "/files/one/some_data-1.0.tar.gz": other,
        "/files/two/some_data-1.0.tar.gz": content,
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, files)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{server.server_port}/simple")
        assert _files.fetch_source("some-data", "1.0", digest(content)) == content
        assert _files.fetch_source("some-data", "1.0", digest(other)) == other
        with pytest.raises(ConnectionError, match="HTTP Error 404"):
            _files.fetch_source("none", "1.0", digest(content))
        server.shutdown()


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIGHTNING_MTL_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(
        ValueError, match=r"`LIGHTNING_MTL_CACHE` must be a folder that can be written, got .* another folder"
    ):
        _files.cached("rows", lambda work: pytest.fail("read"))
