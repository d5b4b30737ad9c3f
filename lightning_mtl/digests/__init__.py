"""Hashes of objects by their content and code, for keys of caches."""

from ._code import version_of
from ._digest import NoDigestError, digest

__all__ = [
    "NoDigestError",
    "digest",
    "version_of",
]
