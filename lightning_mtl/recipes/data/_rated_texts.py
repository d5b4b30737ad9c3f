"""Texts of four domains; about twenty people rated the sentiment of each."""

from __future__ import annotations

import tarfile
from functools import cache as memoize
from io import BytesIO

import datasets

from . import _files

_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_DOMAINS = {
    "tweets": "tweets",
    "movieReviewSnippets": "films",
    "amazonReviewSnippets": "products",
    "nytEditorialSnippets": "editorials",
}


@memoize
def rated_texts() -> datasets.Dataset:
    """Read the 23,703 rated texts of Hutto and Gilbert, "VADER", ICWSM 2014 (MIT licence).

    They are part of the source package of vaderSentiment 3.3.2 (2.5 MB), which is downloaded on first use from where
    pip would look for it; nothing of it is run.

    Returns:
        Rows of `text`, `domain`, `valence` (mean rating, from -4 to 4) and `spread` (standard deviation of the ratings).
    """
    package = ("vaderSentiment", "3.3.2", _SHA256)
    return _files.cached("rated_texts-3.3.2", lambda _: _read(_files.fetch_source(*package)))


def _read(sdist: bytes) -> datasets.Dataset:
    rows = []
    with tarfile.open(fileobj=BytesIO(sdist)) as outer:
        inner = _member(outer, "/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=BytesIO(inner)) as archive:
            for stem, domain in _DOMAINS.items():
                spreads = {row[0]: float(row[2]) for row in _table(archive, f"{stem}_anonDataRatings.txt")}
                for number, valence, text, *_ in _table(archive, f"{stem}_GroundTruth.txt"):
                    rows.append(
                        {"text": text.strip(), "domain": domain, "valence": float(valence), "spread": spreads[number]}
                    )
    return datasets.Dataset.from_list(rows)


def _table(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    lines = _member(archive, f"/{name}").decode("utf-8-sig", "replace").splitlines()
    return [cells for line in lines if len(cells := line.split("\t")) >= 3]


def _member(archive: tarfile.TarFile, ending: str) -> bytes:
    (name,) = [name for name in archive.getnames() if name.endswith(ending)]
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
