"""How good a model is, how surely, and whether it beats another: measured on images that training never saw."""

from fewlabels.evaluation.comparison import compare
from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.measure import evaluate_model
from fewlabels.evaluation.paired import PairedTest, compare_pairs, holm
from fewlabels.evaluation.records import Comparison, Run

__all__ = [
    "Comparison",
    "PairedTest",
    "Run",
    "compare",
    "compare_pairs",
    "evaluate_model",
    "holm",
    "wilson_interval",
]
