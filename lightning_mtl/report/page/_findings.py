"""The five questions, answered from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._arms import read_comparison
from ._capacity import capacity
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
        comparison: What `Comparison.record` returned.

    Example:
        >>> [finding.tone for finding in findings({"this run": {}})]
        ['missing', 'missing', 'missing', 'missing', 'missing']
    """
    runs, arms = runs_of(records), read_comparison(comparison)
    return [gains(arms), relations(runs), overfitting(runs), forgotten(runs), capacity(runs, arms)]
