"""Names of runs, which are folders too."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ._task_result import ALL, STAGED

_LONGEST = 100


def as_folder(name: str) -> str:
    """Return a name that can be the name of a folder.

    Example:
        >>> as_folder("km/h"), as_folder("..")
        ('km_h', '__')
    """
    safe = re.sub(r"[/\\\x00-\x1f]", "_", name)[:_LONGEST]
    return safe if safe.strip(". ") else safe.replace(".", "_").replace(" ", "_")


def run_names(tasks: Iterable[str]) -> dict[str, str]:
    """Return for each task the name of its twin's run: its own, unless that is no folder or the name of another run.

    Example:
        >>> run_names(["topic", "multi-task", "km/h", "km_h"])
        {'topic': 'topic', 'multi-task': 'task multi-task', 'km/h': 'km_h 2', 'km_h': 'km_h'}
    """
    names = list(tasks)
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: as_folder(name) != name):  # those that can keep their name come first
        safe = as_folder(name)
        safe = f"task {safe}" if safe == ALL or safe.startswith(f"{STAGED}-") else safe
        free, number = safe, 1
        while free in found.values():
            number += 1
            free = f"{safe} {number}"
        found[name] = free
    return {name: found[name] for name in names}
