"""Leaks and traps in a data set, found before anything is trained on it."""

from fewlabels.checks.check import check_dataset
from fewlabels.checks.finding import DataCheck, Finding

__all__ = ["DataCheck", "Finding", "check_dataset"]
