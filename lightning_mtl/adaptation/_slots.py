"""The places where a module stores its tensors, so that others can replace them for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Slots:
    """The places where a module stores its parameters and buffers; tied ones have several. They are looked up once.

    `torch.func.functional_call` looks them up in each call, which for a small network takes as long as a layer. And it does not
    restore the tensors of a layer that a module holds under two names.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        first: dict[int, str] = {}
        self._slots: dict[str, list[tuple[dict[str, Any], str]]] = {}
        self._first_names: dict[str, str] = {}
        """For every name of a tensor, the first of its names, by which it is known."""
        for prefix, part in module.named_modules():
            store: Any
            for store in (part._parameters, part._buffers):
                for key, value in store.items():
                    if value is not None:
                        name = f"{prefix}.{key}" if prefix else key
                        first_name = self._first_names[name] = first.setdefault(id(value), name)
                        self._slots.setdefault(first_name, []).append((store, key))

    def by_all_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors under all of their names.

        Args:
            tensors: By names of parameters and buffers; tied ones by their first name.
        """
        return {name: tensors[first] for name, first in self._first_names.items() if first in tensors}

    @contextmanager
    def replaced(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """Replace the module's tensors by these for a while.

        Args:
            tensors: By names of parameters and buffers; tied ones by their first name.
        """
        before = []
        try:
            for name, tensor in tensors.items():
                for store, key in self._slots[name]:
                    before.append((store, key, store[key]))
                    store[key] = tensor
            yield
        finally:
            for store, key, value in before:
                store[key] = value
