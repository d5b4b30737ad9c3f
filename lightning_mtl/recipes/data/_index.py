"""Source packages from where pip would look for them; pip itself would run them to read their name."""

from __future__ import annotations

import hashlib
import re
import ssl
import subprocess
import sys
from ast import literal_eval
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import Request, url2pathname, urlopen

_PYPI = "https://pypi.org/simple"
_HEADERS = {"Accept": "text/html", "User-Agent": "lightning-mtl"}


def source_files(package: str, version: str, sha256: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each source package of this version that pip's settings lead to; nothing is unpacked.

    Args:
        package: The package.
        version: Its version.
        sha256: The hash that is wanted; what a page says to have another one is not downloaded.

    Raises:
        OSError: A place cannot be reached, and none before it has the file.
    """
    settings, failed = pip_settings(), []
    for place in _places(package, settings):
        try:
            for link in _links(place, settings):
                address, mark = urldefrag(link)
                name = unquote(address.rsplit("/", 1)[-1])
                known = mark.removeprefix("sha256=") if mark.startswith("sha256=") else sha256
                if _is_source(name, package, version) and known == sha256:
                    yield name, _read(address, settings)
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def pip_settings() -> dict[str, str]:
    """Return pip's settings from its files and from the environment, those of `pip download` before those of all commands."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in said.stdout.splitlines():
        section, _, rest = line.partition(".")
        name, _, value = rest.partition("=")
        if section in found:
            found[section][name] = str(literal_eval(value))
    return found["global"] | found["download"] | found[":env:"]


def _places(package: str, settings: Mapping[str, str]) -> list[str]:
    """Return the folders and pages that pip would look at for a package."""
    indexes = [settings.get("index-url", _PYPI), *settings.get("extra-index-url", "").split()]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        indexes = []
    name = re.sub(r"[-_.]+", "-", package).lower()
    return [*settings.get("find-links", "").split(), *(f"{index.rstrip('/')}/{name}/" for index in indexes)]


def _is_source(name: str, package: str, version: str) -> bool:
    plain = re.sub(r"[-_.]+", "-", name.removesuffix(".tar.gz")).lower()
    return name.endswith(".tar.gz") and plain == re.sub(r"[-_.]+", "-", f"{package}-{version}").lower()


def _links(place: str, settings: Mapping[str, str]) -> list[str]:
    """Return the addresses of the files in a folder, or on a page."""
    path = _local(place)
    if path is not None and path.is_dir() and not (path / "index.html").exists():
        return [each.resolve().as_uri() for each in sorted(path.iterdir()) if each.is_file()]
    if path is not None:
        place = (path / "index.html" if path.is_dir() else path).resolve().as_uri()
    page = _Links()
    page.feed(_read(place, settings).decode("utf-8", "replace"))
    return [urljoin(page.base or place, link) for link in page.found]


def _local(place: str) -> Path | None:
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place).expanduser()


def _read(address: str, settings: Mapping[str, str]) -> bytes:
    path = _local(address)
    if path is not None:
        return path.read_bytes()
    parts, headers = urlsplit(address), dict(_HEADERS)
    if parts.username is not None:
        word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(word.encode()).decode()}"
        parts = parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1])
    if parts.scheme not in ("http", "https"):
        raise URLError(f"{parts.scheme} is no address that can be read")
    context = ssl.create_default_context(cafile=settings.get("cert"))
    if parts.hostname in settings.get("trusted-host", "").split():  # the hash is checked anyway
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = Request(urlunsplit(parts), headers=headers)
    try:
        with urlopen(request, timeout=float(settings.get("timeout", 60)), context=context) as answer:
            content: bytes = answer.read()
    except HTTPError as error:
        error.close()
        raise
    return content


class _Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.base: str | None = None
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self.base = href
        elif tag == "a" and href:
            self.found.append(href)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
