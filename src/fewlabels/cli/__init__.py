"""The command line: each command a few lines over the public API, in the order that `fewlabels --help` shows."""

from fewlabels.cli import compare, report, check, fit, embed, predict, evaluate, export, datasets, methods  # noqa: F401, I001
from fewlabels.cli.app import app
from fewlabels.cli.main import main

__all__ = ["app", "main"]
