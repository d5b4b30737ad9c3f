"""The five questions, answered from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._capacity import capacity
from ._compared import compared
from ._finding import Finding
from ._forgotten import forgotten
from ._gains import gains
from ._overfitting import overfitting
from ._relations import relations
from ._run import runs_of


def findings(records: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any] | None = None) -> list[Finding]:
    """Answer from the records of some runs: gain, relations, overfitting, forgetting, capacity.

    Args:
        records: {name of the run: its record}.
        comparison: What `Comparison.record` gave.

    Example:
        >>> [finding.tone for finding in findings({"this run": {}})]
        ['missing', 'missing', 'missing', 'missing', 'missing']
    """
    runs, judged = runs_of(records), compared(comparison)
    return [gains(judged), relations(runs), overfitting(runs), forgotten(runs), capacity(runs, judged)]
