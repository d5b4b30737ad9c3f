"""Search a recipe's options with Optuna, in the space that a sweep of Weights & Biases would search.

`python -m lightning_mtl.sweep recipes/sweep.yaml --trials 20` reads the recipe and its options from the file's `command`, and the
search space from its `parameters`. Further options go to the recipe, e.g. `--data.path=my.csv`. Each trial trains the network for
all tasks, and its value is `validate/score`.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ._checks import require_number

_LOGS = "--trainer.logger=true"
"""Trials of Optuna are logged as CSV files, not to Weights & Biases, unless the user says otherwise."""


def search(path: str | Path, *, trials: int = 20, seed: int = 0, options: Sequence[str] = ()) -> Any:
    """Run the trials, one after the other.

    Args:
        path: A YAML file in the format of a W&B sweep, with `command`, `metric` and `parameters`.
        trials: How many settings to try.
        seed: The seed of Optuna's sampler.
        options: More options of the recipe, which come last.

    Returns:
        The `optuna.Study`.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
        ValueError: The file lacks something, or a parameter has a form that Optuna does not have.
    """
    require_number("trials", trials, "20 is the default.", at_least=1, whole=True)
    require_number("seed", seed, "0 is the default.", at_least=0, whole=True)
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("A sweep needs Optuna: pip install 'lightning-mtl[sweep]'") from error
    space = yaml.safe_load(Path(path).read_text())
    recipe, fixed = recipe_of(space)
    _check_metric(space)

    def score(trial: Any) -> float:
        found = [f"--{name}={suggest(trial, name, of)}" for name, of in space["parameters"].items()]
        return float(recipe([*fixed, _LOGS, *options, *found]))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(score, n_trials=trials)
    return study


def recipe_of(space: Mapping[str, Any]) -> tuple[Callable[[list[str]], Any], list[str]]:
    """Return the recipe and its options from the command of a sweep: [..., -m, <module>, <options>, ${args}].

    Raises:
        ValueError: There is no such command, or no parameter to search.

    Example:
        >>> _, options = recipe_of(
        ...     {"command": ["-m", "lightning_mtl.recipes.table", "--seeds=1", "${args}"], "parameters": {"seeds": {}}}
        ... )
        >>> options
        ['--seeds=1']
    """
    command = [str(part) for part in space.get("command") or ()]
    if "-m" not in command[:-1] or not space.get("parameters"):
        raise ValueError(
            f"A sweep must have `parameters` and a `command` with '-m' and a recipe, got {command} and parameters "
            f"{list(space.get('parameters') or ())}. Look at recipes/sweep.yaml."
        )
    at = command.index("-m") + 1
    return importlib.import_module(command[at]).main, [part for part in command[at + 1 :] if "${" not in part]


def suggest(trial: Any, name: str, of: Mapping[str, Any]) -> Any:
    """Let a trial choose a parameter, in the format of W&B: `value`, `values`, or `min` and `max` with a `distribution`.

    Raises:
        ValueError: It has another form.
    """
    if "value" in of:
        return of["value"]
    if "values" in of:
        return trial.suggest_categorical(name, of["values"])
    low, high = of.get("min"), of.get("max")
    whole = isinstance(low, int) and isinstance(high, int)
    match of.get("distribution", "int_uniform" if whole else "uniform"):
        case "int_uniform" if whole:
            return trial.suggest_int(name, low, high)
        case "uniform" | "log_uniform_values" as kind if low is not None and high is not None:
            return trial.suggest_float(name, float(low), float(high), log=kind == "log_uniform_values")
    raise ValueError(
        f"Parameter {name!r} must have `value`, `values`, or `min` and `max` (with the distribution uniform, int_uniform or "
        f"log_uniform_values), got {dict(of)}. Change it."
    )


def _check_metric(space: Mapping[str, Any]) -> None:
    metric = space.get("metric") or {}
    if (metric.get("name"), metric.get("goal")) != ("validate/score", "maximize"):
        raise ValueError(
            f"`metric` must be validate/score, to maximize, got {metric}. It is the mean of the tasks' first metrics."
        )


def main(args: list[str] | None = None) -> Any:
    """Search, and print the best options."""
    parser = argparse.ArgumentParser(prog="python -m lightning_mtl.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", help="a sweep in YAML, e.g. recipes/sweep.yaml")
    parser.add_argument("--trials", type=int, default=20, help="how many settings to try (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of Optuna's sampler (default: 0)")
    own, options = parser.parse_known_args(args)
    sys.argv[1:] = []  # else Lightning takes them for the recipe's options, and warns
    try:
        study = search(own.path, trials=own.trials, seed=own.seed, options=options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    best = " ".join(shlex.quote(f"--{name}={value}") for name, value in study.best_params.items())
    print(f"\nThe best of {len(study.trials)} trials has validate/score {study.best_value:.4f} with\n{best}")
    return study


if __name__ == "__main__":
    main()
