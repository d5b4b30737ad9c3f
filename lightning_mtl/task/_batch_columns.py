"""Columns of a batch that say something about its rows."""

ROWS = "__rows__"
"""The column of a batch with the rows that have a label: {task name: row numbers}, without tasks whose labels are complete.

For a task that labels each position, the numbers are those of the labelled positions, [batch, length] read row by row.
"""

LEVELS = "__levels__"
"""The column of a batch with the rows that each level of a hierarchy must encode: {level: row numbers}."""
