"""`python -m fewlabels`."""

from fewlabels.cli import main

main()
