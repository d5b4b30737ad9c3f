"""Options of comparisons and searches on the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import Any, Literal, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from torch import nn

RESUME = "The folder of a comparison or a search that was broken off: it goes on with the same options, and what is done is not trained again."


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
    parser.add_argument("--resume", type=str | None, default=None, help=RESUME)
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
