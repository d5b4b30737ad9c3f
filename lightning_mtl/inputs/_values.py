"""What a single value of a user's column is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?$")


def missing(value: Any) -> bool:
    """Say whether a cell is empty: nothing, an empty text, or NaN."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def are_dates(values: Sequence[Any]) -> bool:
    """Say whether texts are dates, by the first hundred."""
    return all(_DATE.match(str(value)) for value in islice(values, 100))
