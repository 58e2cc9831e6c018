"""The report: one HTML file that answers from measured facts and opens without a network."""

from fewlabels.report.html import render_report, write_report
from fewlabels.report.reported import compare

__all__ = ["compare", "render_report", "write_report"]
