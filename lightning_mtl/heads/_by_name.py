"""Modules by names of the user's, which may be any texts."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView

from torch import nn

from .._plain import escaped, unescaped


def module_key(name: str) -> str:
    """Return the name of a task as the name of a module, in which "." separates parts: what `torch` uses itself is escaped too.

    Example:
        >>> module_key("topic"), module_key("Petal.Width"), module_key("type")
        ('topic', 'Petal%2EWidth', '%74ype')
    """
    found = escaped(name, "./")
    return f"%{ord(found[0]):02X}{found[1:]}" if found in _RESERVED else found


class ByName(nn.ModuleDict):
    """Modules by names that may be any texts; the keys of parameters are escaped, see `module_key`.

    Example:
        >>> heads = ByName({"km/h": nn.Linear(2, 1)})
        >>> list(heads), "km/h" in heads, next(iter(heads.state_dict()))
        (['km/h'], True, 'km%2Fh.weight')
    """

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(module_key(key))

    def __setitem__(self, key: str, module: nn.Module) -> None:
        super().__setitem__(module_key(key), module)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(module_key(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(module_key(key))

    def __iter__(self) -> Iterator[str]:
        return map(unescaped, super().__iter__())

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._named().keys()

    def items(self) -> ItemsView[str, nn.Module]:
        """Return names and modules."""
        return self._named().items()

    def _named(self) -> dict[str, nn.Module]:
        return {unescaped(key): module for key, module in self._modules.items() if module is not None}


_RESERVED = frozenset(dir(ByName()))
