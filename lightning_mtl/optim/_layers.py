"""Which layer, and which level, of a trunk each parameter is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from torch import nn

_STACKS = ("layer", "layers", "block", "blocks", "h")
"""What libraries call the list of a network's blocks."""

Levels = Sequence[tuple[nn.Module, Sequence[nn.Parameter]]]
"""For each level of a trunk, 0 (the part below all levels) first, the module of its layers and all its parameters."""


@dataclass(frozen=True)
class Place:
    """Where in a trunk a parameter is.

    Args:
        depth: Its layer: 0 before the first one, 1 in it, the top one's after them all.
        level: Its level; -1 where the trunk has no levels.
    """

    depth: int
    level: int = -1


def places(module: nn.Module, of_heads: set[int], levels: Levels = ()) -> dict[int, Place]:
    """Find the place of each parameter, by its id.

    Args:
        module: The trunk, with or without heads.
        of_heads: Parameters of heads, by their ids: lists of modules that hold these are no layers of the trunk.
        levels: The trunk's levels, if it has any; layers are then counted through all of them.
    """
    if levels:
        return _in_levels(module, levels)
    blocks = _blocks(module, of_heads)
    found = {id(p): Place(depth) for depth, block in enumerate(blocks, 1) for p in block.parameters()}
    inside = set(found)
    reached = 0
    for p in module.parameters():
        if id(p) in inside:
            reached = len(blocks)
        else:
            found[id(p)] = Place(reached)
    return found


def without_decay(module: nn.Module) -> set[int]:
    """Find biases, norms and other parameters of at most one dimension, by their id."""
    return {
        id(p)
        for part in module.modules()
        for name, p in part.named_parameters(recurse=False)
        # Of norms, these two alone can have weights of more dimensions.
        if p.ndim <= 1 or name.endswith("bias") or isinstance(part, nn.LayerNorm | nn.RMSNorm)
    }


def _in_levels(module: nn.Module, levels: Levels) -> dict[int, Place]:
    found: dict[int, Place] = {}
    depth = 0
    for level, (layers, parameters) in enumerate(levels):
        for block in (_blocks(layers, set()) or [layers]) if level else []:
            depth += 1
            _put(found, block.parameters(), Place(depth, level))
        _put(found, parameters, Place(depth, level))  # other parameters of a level get the depth of its last layer
    _put(found, module.parameters(), Place(depth, len(levels) - 1))
    return found


def _put(found: dict[int, Place], parameters: Iterable[nn.Parameter], place: Place) -> None:
    for p in parameters:
        found.setdefault(id(p), place)


def _blocks(module: nn.Module, of_heads: set[int]) -> Sequence[nn.Module]:
    """Find the list of a network's blocks: the longest one that is in no other, with a usual name before others."""
    for usual in (True, False):
        found: dict[str, nn.ModuleList] = {}
        for name, part in module.named_modules():
            inner = any(name.startswith(f"{outer}.") for outer in found)
            if isinstance(part, nn.ModuleList) and not inner and (name.rpartition(".")[2] in _STACKS) is usual:
                weights = [{id(p) for p in block.parameters()} for block in part]
                if all(weights) and of_heads.isdisjoint(chain.from_iterable(weights)):
                    found[name] = part
        if found:
            return list(found[max(found, key=lambda name: len(found[name]))])
    return []
