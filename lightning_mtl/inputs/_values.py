"""What a single value of the user's column is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?$")


def missing(value: Any) -> bool:
    """Return whether a cell is empty: None, an empty text, or NaN."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def are_dates(values: Sequence[Any]) -> bool:
    """Return whether texts are dates, judged by the first hundred."""
    return all(_DATE.match(str(value)) for value in islice(values, 100))
