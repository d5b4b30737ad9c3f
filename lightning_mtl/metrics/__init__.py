"""Metrics that torchmetrics does not have, one per file."""

from ._span_f1 import SpanF1

__all__ = ["SpanF1"]
