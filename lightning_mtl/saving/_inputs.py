"""How rows become what the encoder reads, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from ..encoders import Encoder, Tokenizer
from ..inputs import Input, Inputs, Text, Words
from ._description import custom_objects, describe
from ._format import Description
from ._rebuilding import rebuild


def describe_inputs(inputs: Inputs, tokenizer: Tokenizer | None) -> Description:
    """Describe the inputs of a source.

    Args:
        inputs: The inputs.
        tokenizer: That of the encoder. It is described with the encoder, not here.
    """
    if inputs.whole is not None:
        return {"own": f"{getattr(inputs.whole, '__module__', '')}.{getattr(inputs.whole, '__qualname__', 'collate')}"}
    return {"parts": [_describe_part(part, tokenizer) for part in inputs.parts]}


def rebuild_inputs(of: Mapping[str, Any], tokenizer: Tokenizer | None) -> Inputs:
    """Rebuild the inputs of a source; where a function of the user's own is missing, they raise an error when they are used.

    Args:
        of: What `describe_inputs` returned.
        tokenizer: That of the encoder.
    """
    custom = {"": of["own"]} if "own" in of else custom_objects(of["parts"])
    if custom:
        return Inputs([], whole=_Missing(", ".join(custom.values())))
    parts = [rebuild(part) for part in of["parts"]]
    for part in parts:
        if isinstance(part, Text | Words) and part.tokenizer is None:
            part.tokenizer = tokenizer
    return Inputs(parts)


def tokenizer_of(encoder: Encoder, description: Any) -> Tokenizer | None:
    """Return the tokenizer that is described with the encoder; None for an encoder of the user's own.

    Args:
        encoder: The encoder.
        description: What `describe` returned for it.
    """
    return None if custom_objects(description) else encoder.tokenizer


def refuse_other_inputs(description: Mapping[str, Any], inputs: Mapping[str, Inputs], encoder: Encoder) -> None:
    """Check that data scale and code their columns as the model of a checkpoint was trained to read them.

    Args:
        description: The description of the model.
        inputs: The inputs of the data, by source.
        encoder: The encoder that reads them.

    Raises:
        ValueError: They do not, since the training split is another one.
    """
    scaled = {name: of for name, of in inputs.items() if of.sizes()}
    if not scaled:
        return
    tokenizer = tokenizer_of(encoder, describe(encoder))
    found = {name: describe_inputs(of, tokenizer) for name, of in scaled.items()}
    for name, of in description.get("inputs", {}).items():
        if name in found and found[name] != of:
            raise ValueError(
                f"Source {name!r} must scale and code its columns as in the checkpoint, got another training split or other "
                "columns. Give the same training split; or load the model, which knows them: load_from_checkpoint(path)."
            )


def _describe_part(part: Input, tokenizer: Tokenizer | None) -> Any:
    made = describe(part)
    if "args" in made and tokenizer is not None and getattr(part, "tokenizer", None) is tokenizer:
        made["args"].pop("tokenizer", None)  # the encoder has it
    return made


class _Missing:
    """Takes the place of a function of the user's own, and asks for it when it is called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, rows: Any) -> NoReturn:
        raise ValueError(
            f"This model was trained with {self.name}, a function of your own, which no checkpoint holds. Give it: "
            "module.inputs[<source>] = Source(rows, transform=...).inputs(None, [])."
        )
