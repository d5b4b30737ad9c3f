"""Where a module keeps its tensors, so that others can take their place for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Slots:
    """Where a module keeps its parameters and buffers, tied ones in several places: looked up once.

    `torch.func.functional_call` looks for them in each call, which takes a small network as long as a layer; and it leaves a layer that
    a module holds under two names with the tensors that it was given.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        first: dict[int, str] = {}
        self._of: dict[str, list[tuple[dict[str, Any], str]]] = {}
        self._names: dict[str, str] = {}
        """Each tensor once in each module that has it, beside the first of its names, by which it is known."""
        for prefix, part in module.named_modules():
            held: Any
            for held in (part._parameters, part._buffers):
                for key, value in held.items():
                    if value is not None:
                        name = f"{prefix}.{key}" if prefix else key
                        known = self._names[name] = first.setdefault(id(value), name)
                        self._of.setdefault(known, []).append((held, key))

    def spread(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name tensors in each place where they belong.

        Args:
            tensors: By names of parameters and buffers, of tied ones by the first.
        """
        return {name: tensors[known] for name, known in self._names.items() if known in tensors}

    @contextmanager
    def taken(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Let tensors take the places of those of their names.

        Args:
            tensors: By names of parameters and buffers, of tied ones by the first.
        """
        before = []
        try:
            for name, tensor in tensors.items():
                for held, key in self._of[name]:
                    before.append((held, key, held[key]))
                    held[key] = tensor
            yield
        finally:
            for held, key, value in before:
                held[key] = value
