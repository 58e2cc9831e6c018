"""The command line: each command a few lines over the public API, in the order that `fewlabels --help` shows."""

# ruff: noqa: F401, I001
from fewlabels.cli import compare
from fewlabels.cli import report
from fewlabels.cli import check
from fewlabels.cli import fit
from fewlabels.cli import label
from fewlabels.cli import embed
from fewlabels.cli import predict
from fewlabels.cli import evaluate
from fewlabels.cli import export
from fewlabels.cli import serve
from fewlabels.cli import push
from fewlabels.cli import pull
from fewlabels.cli import datasets
from fewlabels.cli import methods
from fewlabels.cli.app import app
from fewlabels.cli.main import command, main

__all__ = ["app", "command", "main"]
