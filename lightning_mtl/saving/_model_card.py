"""A model card: what a model predicts, and how well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .._table import one_line
from ..encoders import Encoder
from ..task import Task


def model_card(tasks: Sequence[Task], encoder: Encoder, scores: Mapping[str, float]) -> str:
    """Return the card as Markdown.

    Args:
        tasks: The tasks of the model.
        encoder: Its encoder.
        scores: Scores by name, "<stage>/<task>/<metric>".
    """
    names = ", ".join(_literal(task.name) for task in tasks)
    trunk = getattr(encoder, "trunk", encoder)
    lines = [
        "---",
        "library_name: lightning-mtl",
        "tags: [multi-task-learning]",
        "---",
        "",
        f"# {len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}: {names}",
        "",
        f"One network ({type(trunk).__name__}, shared by {type(encoder).__name__}) for {names}.",
        "",
        "| task | head | reads | labels | test, else validation |",
        "|---|---|---|---|---|",
        *(_row(task, scores) for task in tasks),
        "",
        "```python",
        "from lightning_mtl import MultiTaskModule",
        "",
        "model = MultiTaskModule.from_pretrained(<this folder>)",
        "model.predict(rows)",
        "```",
        "",
    ]
    return "\n".join(lines)


def _row(task: Task, scores: Mapping[str, float]) -> str:
    names = getattr(task.head, "names", None) or []
    labels = ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "")
    found: list[str] = []
    for stage in ("test", "validate"):
        prefix = f"{stage}/{task.log_name}/"
        found = found or [
            f"{key.removeprefix(prefix)} {value:.4f}" for key, value in scores.items() if key.startswith(prefix)
        ]
    cells = (task.name, type(task.head).__name__, task.source or "-", labels or "-", ", ".join(found) or "-")
    return f"| {' | '.join(_literal(cell) for cell in cells)} |"


def _literal(text: str) -> str:
    """Write a text so that Markdown shows it as it is: no markup, no links, no line ends."""
    text = re.sub(r"([\\`*\[\]()|~!$#]|\b_|_\b)", r"\\\1", one_line(text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return text.replace("://", "&#58;//").replace("www.", "www&#46;")
