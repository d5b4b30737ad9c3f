"""How the rows of a source become tensors: as the model has learned it, or else as the training split says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..encoders import Tokenizer, Vocabulary
from ..inputs import Inputs
from ._source import Source


def fitted_tokenizer(given: Tokenizer | None, module: Any, sources: Iterable[Source]) -> Tokenizer | None:
    """Return the tokenizer of a data module, or else the encoder's; a `Vocabulary` without words learns those of these sources.

    Args:
        given: The tokenizer of the data module.
        module: The model, if there is one.
        sources: The sources; their training splits are read.
    """
    tokenizer = given or getattr(getattr(module, "encoder", None), "tokenizer", None)
    if isinstance(tokenizer, Vocabulary) and tokenizer.known is None:
        there = (source for source in sources if "train" in source.splits)
        tokenizer.fit(text for source in there for text in source.texts())
    return tokenizer


def inputs_of(
    source: Source,
    name: str,
    module: Any,
    tokenizer: Tokenizer | None,
    targets: Sequence[str] | None,
    not_inputs: Iterable[str] = (),
) -> Inputs:
    """Return the inputs that the model has learned for a source, or else those that fit its training split.

    Args:
        source: The source.
        name: Its name.
        module: The model, if there is one.
        tokenizer: What turns texts into tensors.
        targets: Columns that tasks learn from. Default: none is known, so every column is an input.
        not_inputs: Columns that are left out unless they are targets.
    """
    known = getattr(module, "inputs", {})
    if name in known and source.is_read_by(known[name], name):
        learned: Inputs = known[name]
        return learned
    return source.inputs(tokenizer, targets, name, not_inputs)
