"""Which options of comparisons and searches exclude each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from .._checks import require_number

_VARIED = {
    "weight_search": ("balancer", "`**balancing`, and pass that on to `MultiTaskModule`"),
    "placement": ("levels", "`levels`, a dictionary {task: level}, for its tasks"),
}
"""The argument of the model that a search varies, and what to give the model's `__init__` for it."""


def refuse_beside_search(config: Namespace, model: str) -> None:
    """Refuse options that do not go together with a search, before anything is written.

    Args:
        config: The options.
        model: Name of the model's class.

    Raises:
        ValueError: There is such an option, or the model does not take the argument that is varied.
    """
    for search, (argument, remedy) in _VARIED.items():
        if config[search] is None:
            continue
        if config.ckpt_path is not None or not config.compare or config.resume is not None:
            raise ValueError(
                f"`--{search}` must stand without `--ckpt_path`, `--resume` and `--compare=false`, got --ckpt_path={config.ckpt_path}, "
                f"--resume={config.resume} and --compare={str(config.compare).lower()}. Leave these out."
            )
        if argument not in config.model:
            raise ValueError(
                f"`--{search}` must be of a model that takes `{argument}`, got {model}. Give its `__init__` {remedy}."
            )


def refuse_checkpoint(config: Namespace) -> None:
    """Refuse a checkpoint that cannot be resumed.

    Raises:
        ValueError: It is none, or not of one network.
    """
    if config.ckpt_path is None:
        return
    if config.compare:
        raise ValueError("`--ckpt_path` must resume one network, got a comparison. Add --compare=false --seeds=1.")
    if config.seeds != 1:
        raise ValueError(f"`--ckpt_path` must resume the run of one seed, got --seeds={config.seeds}. Add --seeds=1.")
    if not Path(config.ckpt_path).is_file():
        raise ValueError(f"`--ckpt_path` must be a checkpoint of a run, got {config.ckpt_path!r}, which is no file.")


def refuse_ignored(config: Namespace, given: Collection[str], arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse options that would be ignored beside others.

    Args:
        config: The options.
        given: The names of those that were given on the command line.
        arms: The networks that are compared, see `MultiTaskCLI`.

    Raises:
        ValueError: There is such an option.
    """
    searches = [f"--{name}" for name in ("weight_search", "placement") if config[name] is not None]
    if len(searches) > 1:
        raise ValueError("`--weight_search` and `--placement` must stand alone, got both. Search one after the other.")
    if "--seeds" in given and config.weight_search is not None:
        raise ValueError(
            "`--seeds` must be left out beside `--weight_search`, whose trials have a seed each, from --seed_everything on, got "
            f"--seeds={config.seeds}."
        )
    require_number("--save_every", config.save_every, "50 is the default.", at_least=1, whole=True)
    if "--save_every" in given and (config.compare or searches):
        raise ValueError(
            f"`--save_every` must stand beside --compare=false, which writes last.ckpt, got --save_every={config.save_every} in a "
            "comparison or a search. Leave it out."
        )
    if config.resume is not None and not config.compare and not searches:
        raise ValueError(
            "`--resume` must be of a comparison or a search, got --compare=false. Resume one network by --ckpt_path."
        )
    if arms and config.compare and not searches:
        for name in {name for changes in arms.values() for name in changes}:
            if f"--model.{name}" in given:
                raise ValueError(
                    f"`--model.{name}` must be left out where {' and '.join(arms)} are compared, which differ in it. Leave it out, or add "
                    "--compare=false for one network."
                )


def refuse_twin_options(config: Namespace, arms: Collection[str]) -> None:
    """Refuse options of single-task twins where none are trained.

    Args:
        config: The options.
        arms: See `add_options`.

    Raises:
        ValueError: There is such an option.
    """
    given = [name for name in ("two_stage", "cache") if config[name] not in (None, False)]
    searches = [name for name in ("weight_search", "placement") if config[name] is not None]
    other = [f"--{name}" for name in searches] or ["--compare=false"] * (not config.compare)
    if given and (other or arms):
        raise ValueError(
            f"`--{given[0]}` must stand where one network is compared with its single-task twins, got "
            f"{' and '.join(other or arms)}. Leave it out."
        )


def refuse_overwritten(given: Collection[str], kind: str, by: str, choices: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse options whose values another option sets.

    Args:
        given: The names of the options on the command line.
        kind: "data", "model" or "trainer".
        by: The other option.
        choices: What it sets, for each of its values.

    Raises:
        ValueError: There is such an option.
    """
    for name in dict.fromkeys(name for changes in choices.values() for name in changes):
        if f"--{kind}.{name}" in given:
            sets = ", ".join(f"{choice}: {changes[name]}" for choice, changes in choices.items() if name in changes)
            raise ValueError(f"`--{kind}.{name}` must be left out, since `--{by}` sets it ({sets}). Choose there.")
