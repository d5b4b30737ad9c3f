"""How often each source is drawn, and which of its rows."""

from ._rule import Rule, Signals

__all__ = ["Rule", "Signals"]
