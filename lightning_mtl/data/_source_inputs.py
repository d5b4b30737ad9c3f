"""How the rows of a source become tensors: as the model has learned it, or else as the training split says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..encoders import Tokenizer, Vocabulary
from ..inputs import Inputs
from ._source import Source


def tokenizer_of(given: Tokenizer | None, module: Any) -> Tokenizer | None:
    """Return the tokenizer of a data module, or else the encoder's.

    Args:
        given: The tokenizer of the data module.
        module: The model, if there is one.
    """
    tokenizer: Tokenizer | None = given or getattr(getattr(module, "encoder", None), "tokenizer", None)
    return tokenizer


def fitted_tokenizer(given: Tokenizer | None, module: Any, sources: Iterable[Source]) -> Tokenizer | None:
    """Return the tokenizer; a `Vocabulary` without words learns those of these sources.

    Args:
        given: The tokenizer of the data module.
        module: The model, if there is one.
        sources: The sources; their training splits are read.
    """
    tokenizer = tokenizer_of(given, module)
    if isinstance(tokenizer, Vocabulary) and tokenizer.known is None:
        tokenizer.fit(text for source in sources if "train" in source.splits for text in _texts(source))
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
    known = known_inputs(source, name, module)
    return source.inputs(tokenizer, targets, name, not_inputs) if known is None else known


def known_inputs(source: Source, name: str, module: Any) -> Inputs | None:
    """Return the inputs that the model has learned for a source; None where they do not fit it, or there are none."""
    known: Inputs | None = getattr(module, "inputs", {}).get(name)
    return known if known is not None and _is_read_by(source, known, name) else None


def _texts(source: Source) -> Iterator[str]:
    """Return all texts of the training split."""
    columns = [*source.text, *([source.words] if source.words else ())]
    for values in source.readings.of("train").columns(columns).values():
        yield from (value if isinstance(value, str) else " ".join(value) for value in values if value)


def _is_read_by(source: Source, inputs: Inputs, name: str) -> bool:
    """Return whether inputs that a model has learned fit a source.

    Raises:
        ValueError: They were learned from other columns than the source names.
    """
    same = inputs.whole is None and bool(inputs.columns) and (not source.named or source.named == inputs.columns)
    same = same and source.transform is None and source.collate is None
    if not same and inputs.sizes() and source.named:
        raise ValueError(
            f"Source {name!r} must name the columns {inputs.columns}, in this order, on which the model was trained, got "
            f"{source.named}. Name them so, or train a new model."
        )
    return same
