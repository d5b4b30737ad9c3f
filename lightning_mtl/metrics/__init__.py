"""Metrics that torchmetrics does not have, one per file."""

from ._drop_alarm import Drop, DropAlarm
from ._span_f1 import SpanF1

__all__ = ["Drop", "DropAlarm", "SpanF1"]
