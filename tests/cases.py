"""Many cases of one property in one test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def over(
    names: str | tuple[str, ...], values: Iterable[Any], ids: Callable[[Any], str] = str
) -> Callable[[Test], Test]:
    """Run a test over all values, as one item; a failure names the values.

    It stands where `pytest.mark.parametrize` would make an item of each seed. Kinds and rules remain parameters, so that a failure
    of one hides no other.

    Args:
        names: Name of the argument, or names of several arguments.
        values: The value, or the tuple of values, of each case.
        ids: Text of a value.
    """
    names = (names,) if isinstance(names, str) else names
    cases = [value if len(names) > 1 else (value,) for value in values]

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(*args: Any, **rest: Any) -> None:
            for case in cases:
                given = dict(zip(names, case, strict=True))
                try:
                    test(*args, **given, **rest)
                except BaseException as error:
                    error.add_note("With " + ", ".join(f"{name} = {ids(value)}" for name, value in given.items()))
                    raise

        asked = inspect.signature(test)
        kept = [of for name, of in asked.parameters.items() if name not in names]
        run.__signature__ = asked.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return decorate
