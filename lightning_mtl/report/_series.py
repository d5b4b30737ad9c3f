"""Values over steps, of which a bounded number is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

POINTS = 500
"""About so many values of a series are kept."""


@dataclass(slots=True)
class Series:
    """Values over steps, of which at most `POINTS` are kept, evenly spread, with the first and the newest.

    Example:
        >>> series = Series()
        >>> for step in range(1, 2001):
        ...     series.add(step, 1 / step)
        >>> kept = series.kept()
        >>> len(kept), kept[0], kept[-1]
        (501, [1, 1.0], [2000, 0.0005])
    """

    points: list[list[int | float]] = field(default_factory=list)
    every: int = 1
    """One value of so many is kept."""
    seen: int = 0
    newest: list[int | float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Add a value.

        Args:
            step: Its step.
            value: The value.
        """
        self.newest = [step, value]
        if self.seen % self.every == 0:
            self.points.append(self.newest)
        self.seen += 1
        if len(self.points) > POINTS:
            del self.points[1::2]
            self.every *= 2

    def kept(self) -> list[list[int | float]]:
        """Return [step, value] of each value that is kept."""
        left_out = bool(self.newest) and self.newest is not self.points[-1] and self.newest != self.points[-1]
        return [*self.points, self.newest] if left_out else list(self.points)
