"""What each method cost: time, images, energy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fewlabels.evaluation.standings import Group, Standing
from fewlabels.evaluation.verdicts import labels_text
from fewlabels.report.curves import cost_chart

_JOULES_PER_WATT_HOUR = 3600


def cost_view(groups: list[Group]) -> dict[str, Any]:
    """Return a table of costs a number of labels, a chart of accuracy over time, and what is known of the energy."""
    tables = [
        {
            "labels": labels_text(group.labels_per_class),
            "rows": [_row(standing) for standing in group.standings],
            "chart": cost_chart(group),
        }
        for group in groups
    ]
    runs = [run for group in groups for standing in group.standings for run in standing.runs]
    joules = [run.energy_joules for run in runs]
    known = [value for value in joules if not math.isnan(value)]
    return {
        "tables": tables,
        "has_energy": bool(known),
        "seconds": sum(run.fit_seconds for run in runs),
        "runs": len(runs),
        "watt_hours": sum(known) / _JOULES_PER_WATT_HOUR if len(known) == len(runs) else None,
    }


def _row(standing: Standing) -> dict[str, Any]:
    images = float(np.mean([run.gradient_images for run in standing.runs]))
    return {
        "method": standing.method,
        "test_accuracy": standing.test_accuracy,
        "seconds": standing.fit_seconds,
        "images": images,
        "rate": images / standing.fit_seconds if standing.fit_seconds > 0 else None,
        "steps": round(float(np.mean([sum(run.stage_steps.values()) for run in standing.runs]))),
        "parameters": standing.runs[0].parameters,
        "watt_hours": float(np.mean([run.energy_joules for run in standing.runs])) / _JOULES_PER_WATT_HOUR,
    }
