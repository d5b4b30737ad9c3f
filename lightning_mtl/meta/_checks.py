"""What meta-learning requires of its arguments, episodes and norms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .._checks import require, require_number
from .._distributed import SHARDED
from ..adaptation import ENGINES, NORMS, Adaptation, Adapting, Episode, EpisodeNorms, singles

if TYPE_CHECKING:
    from ._module import MetaLearningModule


def refuse_bad_arguments(rule: Any, engine: str, chunk: int | None, compiled: bool, norm: str, support: float) -> None:
    require(
        isinstance(rule, Adaptation),
        "adaptation",
        "one of lightning_mtl.adaptation",
        rule,
        "Make it: MAML(rate=0.01, steps=1).",
    )
    require(engine in ENGINES, "engine", f"one of {list(ENGINES)}", engine, "Leave it out for 'auto'.")
    require(norm in NORMS, "norm", f"one of {list(NORMS)}", norm, "Leave it out for 'episode'.")
    remedy = "Leave it out to adapt to all episodes at once."
    require_number("chunk", chunk, remedy, at_least=1, whole=True, optional=True)
    require(
        not compiled or engine == "vmap", "engine", "'vmap' with `compile`", engine, "Give it, or leave `compile` out."
    )
    require_number("support", support, "0.5 adapts to one half, and evaluates on the other.", above=0, below=1)


def refuse_unlearned_norms(module: MetaLearningModule, what: str) -> None:
    """Check that batch norms have statistics of their own, without which only an adapted task can predict.

    Raises:
        ValueError: They have none.
    """
    layers: Any = EpisodeNorms(module.encoder, module.norm).layers
    if module.adaptation.count(True) and any(layer.num_batches_tracked == 0 for layer in layers):
        raise ValueError(
            f"`{what}` must be of an adapted task where batch norms have no statistics of their own, since episodes are normalised by theirs, got "
            "a module as it was trained. Adapt it first, module.adapt(task, rows); or use LayerNorm or GroupNorm."
        )


def refuse_supports(module: MetaLearningModule, task: int, episodes: Episode | list[Episode]) -> None:
    """Check that each episode has what the adaptation needs, where that needs no wait for the device."""
    name = module.tasks[task].name
    for support, _ in [episodes] if isinstance(episodes, tuple) else episodes:
        if support["target"].is_cpu:
            module.adaptation.refuse_support(name, module.heads[name], support["target"])


def refuse_divergence(module: MetaLearningModule, task: int, batch: Any, episodes: Any, loss: Tensor) -> None:
    """Check that adapting stayed finite, where that needs no wait for the device (elsewhere it is found when losses are logged).

    Raises:
        ValueError: It did not.
    """
    if loss.is_cpu and not math.isfinite(loss.item()):
        name = module.tasks[task].name
        drawn = {source: part.get("drawn") for source, part in batch.items() if isinstance(part, Mapping)}
        raise ValueError(_divergence(name, module.adapter(task), episodes, drawn))


def _divergence(task: str, adapter: Adapting, episodes: Any, drawn: Mapping[str, Any]) -> str:
    """Return a message that says where the loss of an episode of a training step stopped being finite.

    Args:
        task: Name of the task.
        adapter: The object that adapts it.
        episodes: The episodes of the step.
        drawn: For each source the seed and the step of its episodes, where these are known.
    """
    alone = singles(episodes) if isinstance(episodes, tuple) else episodes
    rate = getattr(adapter.rule, "rate", None)
    where = ", ".join(f"{source}: {origin}" for source, origin in drawn.items() if origin) or "not of EpisodeDataModule"
    for number, episode in enumerate(alone):
        (outcome,) = adapter([episode], training=False, every=True)
        finite = outcome.losses[0][0].isfinite().tolist()
        if not all(finite):
            first = finite.index(False)
            what = (
                f"after inner step {first}"
                if first
                else "before the first inner step: the weights it starts from have diverged"
            )
            return (
                f"Adapting to task {task!r} must stay finite, got a loss that is not in episode {number} of the step ({where}), {what}, with "
                f"`rate` {rate}. Take a smaller `rate`, fewer `steps`, or a smaller rate of the optimizer."
            )
    return f"The loss of task {task!r} must stay finite while it is trained, got one that is not ({where}). Take a smaller `rate`."


def refuse_sharding(strategy: Any) -> None:
    """Check that each rank has a whole model to adapt.

    Raises:
        ValueError: Parameters are sharded over the ranks.
    """
    if isinstance(strategy, SHARDED):
        raise ValueError(
            f"`strategy` must leave each process a whole model to adapt, got {type(strategy).__name__}, which shards parameters over the "
            "processes. Use strategy='ddp'."
        )
