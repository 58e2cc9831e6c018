"""Measure methods and compare them: intervals, paired tests, the comparison protocol."""

from fewlabels.evaluation.comparison import compare
from fewlabels.evaluation.intervals import mean_interval, wilson_interval
from fewlabels.evaluation.metrics import evaluate_model, pseudo_label_quality
from fewlabels.evaluation.paired import PairedResult, compare_over_seeds, holm, mcnemar_test
from fewlabels.evaluation.reading import read_comparison
from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run import Mistake, Reconstructions, Run

__all__ = [
    "Comparison",
    "Mistake",
    "PairedResult",
    "Reconstructions",
    "Run",
    "compare",
    "compare_over_seeds",
    "evaluate_model",
    "holm",
    "mcnemar_test",
    "mean_interval",
    "pseudo_label_quality",
    "read_comparison",
    "wilson_interval",
]
