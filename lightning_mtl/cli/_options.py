"""Options of comparisons and searches on the command line, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import Any, Literal, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn


def add_options(parser: LightningArgumentParser, arms: Collection[str], two_stage: bool | float) -> None:
    """Add the options of a comparison and of searches.

    Args:
        parser: The parser.
        arms: Names of the networks that are compared, if these are not one network and its twins.
        two_stage: The default of `--two_stage`.
    """
    parser.add_argument("--seeds", type=int, default=5, help="How many paired seeds to run (default: 5).")
    whether = f"compare {' and '.join(arms)}" if arms else "train the twins too"
    parser.add_argument("--compare", type=bool, default=True, help=f"Whether to {whether} (default: true).")
    parser.add_argument(
        "--save_every",
        type=int,
        default=50,
        help="Steps from one last.ckpt to the next, with --compare=false (default: 50).",
    )
    parser.add_argument(
        "--ckpt_path", type=str, default=None, help="A last.ckpt to resume from, with --compare=false --seeds=1."
    )
    parser.add_argument(
        "--weight_search",
        type=int | None,
        default=None,
        help="Trials of a search for the best fixed weights, beside as many of equal weights and of --model.balancer, in place "
        "of the comparison. Each trial has a seed of its own, from --seed_everything on; --seeds does not count.",
    )
    parser.add_argument(
        "--placement",
        type=Literal["all"] | dict[str, list[int]] | None,
        default=None,
        help="Tasks to try at other levels of a hierarchy, in place of the comparison: all, or {task: [level, ...]}. Each level has the "
        "same --seeds.",
    )
    parser.add_argument(
        "--two_stage",
        type=bool | float | None,
        default=None,
        help="Whether to fine-tune each task by itself too, from the network for all tasks: true, for half of a twin's epochs, or "
        f"a share of them (default: {str(two_stage).lower()}).",
    )
    parser.add_argument(
        "--cache",
        type=str | None,
        default=None,
        help="A folder that keeps the results of single-task twins, so that the same twin is not trained twice. Off by default, since "
        "it sees the source of your classes, settings and data, but not all code that they call.",
    )


def add_shortcuts(parser: LightningArgumentParser, shortcuts: Mapping[str, tuple[str, list[str]]]) -> None:
    """Add options without a prefix, which set arguments of data and model.

    Args:
        parser: The parser.
        shortcuts: {option: (default, arguments)}.
    """
    for option, (default, arguments) in shortcuts.items():
        parser.add_argument(f"--{option}", type=str, default=default, help=f"Sets {', '.join(arguments)}.")
        for argument in arguments:
            parser.link_arguments(option, argument, compute_fn=split_names if len(arguments) > 1 else None)


def split_names(value: str) -> list[str]:
    """Split names with commas between."""
    return [part.strip() for part in value.split(",") if part.strip()]


def refuse_functions(option: str, value: Any) -> None:
    """Refuse to call a function, or a class that is none of a network's, by its path alone: it may do anything, e.g. `os.system`.

    Args:
        option: The option, e.g. "model.balancer".
        value: Its value, of which no object is made yet.

    Raises:
        ValueError: There is such a function or class in it.
    """
    if isinstance(value, Namespace) and "class_path" in value:
        kind = resolve_name(value.class_path)
        if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
            _refuse_path(option, value.class_path)
        given = value.get("init_args")
        for name, inner in ({} if given is None else vars(given)).items():
            if isinstance(inner, Namespace) or callable(inner):
                refuse_functions(f"{option}.{name}", inner)
    elif isinstance(value, str) or (callable(value) and not isinstance(value, nn.Module)):
        _refuse_path(option, value if isinstance(value, str) else f"{value.__module__}.{value.__qualname__}")


def _refuse_path(option: str, path: str) -> NoReturn:
    raise ValueError(
        f"`--{option}` must be a class of lightning_mtl.balancers or another `nn.Module`, got {path}. Give e.g. "
        "--model.balancer=PCGrad; a function of your own can be given in Python: MultiTaskModule(..., balancer=function)."
    )


def refuse_beside_search(config: Namespace, search: str, argument: str, model: str, remedy: str) -> None:
    """Refuse options that do not go together with a search, before anything is written.

    Args:
        config: The options.
        search: The option of the search.
        argument: The argument of the model that the search varies.
        model: Name of the model's class.
        remedy: What to give the model's `__init__`, for the error message.

    Raises:
        ValueError: There is such an option, or the model does not take the argument.
    """
    if config.ckpt_path is not None or not config.compare:
        raise ValueError(
            f"`--{search}` must stand without `--ckpt_path` and `--compare=false`, which are of one network, got "
            f"--ckpt_path={config.ckpt_path} and --compare={str(config.compare).lower()}. Leave these out."
        )
    if argument not in config.model:
        raise ValueError(
            f"`--{search}` must be of a model that takes `{argument}`, got {model}. Give its `__init__` {remedy}."
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
