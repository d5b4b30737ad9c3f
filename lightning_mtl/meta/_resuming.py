"""What a checkpoint holds of the episodes of training, and whether a run can go on with them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ._loader import Drawing


def facts_of(drawings: Mapping[str, Drawing], episodes: int) -> dict[str, Any]:
    """Return what determines the episodes of training beside the seed, as plain data.

    Args:
        drawings: What draws the episodes of each source.
        episodes: Episodes of each source in a step, on all ranks.
    """
    return {"episodes": episodes, "sources": {name: drawing.facts() for name, drawing in drawings.items()}}


def resume(
    drawings: Mapping[str, Mapping[str, Drawing]], state: Mapping[str, Any], episodes: int, seed: int, given: int | None
) -> int:
    """Go on with the episodes of a checkpoint, and return their seed.

    Args:
        drawings: What draws the episodes of each source, for each split.
        state: The state of the checkpoint.
        episodes: Episodes of each source in a step, on all ranks.
        seed: The seed of this run.
        given: The seed that the user gave, if there is one.

    Raises:
        ValueError: The checkpoint is of other episodes.
    """
    if "made_of" in state:  # earlier checkpoints do not say
        refuse_other_episodes(state["made_of"], facts_of(drawings["train"], episodes))
    saved = int(state.get("seed", seed))
    if given is not None and given != saved:
        warnings.warn(f"Episodes go on with the seed {saved} of the checkpoint, `seed` is {given}.", stacklevel=2)
    for split in ("train", "validation"):
        for drawing in drawings.get(split, {}).values():
            drawing.reseed(saved)
    return saved


def refuse_other_episodes(saved: Mapping[str, Any], today: Mapping[str, Any]) -> None:
    """Reject a checkpoint of other episodes.

    Args:
        saved: The facts of the checkpoint.
        today: Those of this run.

    Raises:
        ValueError: They differ.
    """
    before, now = _flat(saved), _flat(today)
    for what in {**now, **before}:
        if repr(before.get(what)) != repr(now.get(what)):
            raise ValueError(
                f"The checkpoint must be of the same episodes to go on with them, got {what}: {now.get(what)} today and "
                f"{before.get(what)} in the checkpoint. Give what it was saved with (on N times the processes, 1/N of `episodes`), or "
                "start a new run from its weights: `warm_start`."
            )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    sources = facts["sources"].items()
    more = {f"{what} of source {name!r}": value for name, of in sources for what, value in of.items()}
    return {"episodes of a step on all processes": facts["episodes"], "sources": list(facts["sources"]), **more}
