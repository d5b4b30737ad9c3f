"""List the recipes, one per line."""

import ast
from pathlib import Path


def main() -> None:
    """Print the name of each recipe, and the first line of its docstring."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            summary = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
            print(f"python -m lightning_mtl.recipes.{path.stem:20} {summary}")


if __name__ == "__main__":
    main()
