"""Columns of a batch that hold what is known about its rows."""

ROWS = "__rows__"
"""The column of a batch that says which rows have a label: {task name: row numbers}, complete tasks left out.

Of a task that labels each position, the numbers are those of the labelled positions, [batch, length] read row by row.
"""

LEVELS = "__levels__"
"""The column of a batch that says which rows must rise to which level of a hierarchy: {level: row numbers}."""
