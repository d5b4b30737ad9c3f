"""List the recipes, with a line each."""

import ast
from pathlib import Path


def main() -> None:
    """Print the name and the first line of each recipe."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            says = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
            print(f"python -m lightning_mtl.recipes.{path.stem:20} {says}")


if __name__ == "__main__":
    main()
