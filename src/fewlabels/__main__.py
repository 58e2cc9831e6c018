"""`python -m fewlabels`."""

from fewlabels.cli import command

command()
