"""What each method cost: time, images, energy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fewlabels.evaluation.ladder import features_sentence
from fewlabels.evaluation.standings import Group, Standing
from fewlabels.evaluation.verdicts import labels_text
from fewlabels.report.curves import cost_chart

_JOULES_PER_WATT_HOUR = 3600


def cost_view(groups: list[Group], embedded: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a table of costs a number of labels, a chart of accuracy over time, and what is known of the energy.

    `embedded` tells of features that were made for all trainings, see `fewlabels.evaluation.contenders.Field`.
    """
    tables = [
        {
            "labels": labels_text(group.labels_per_class, group.labels_given),
            "rows": [_row(standing) for standing in group.standings],
            "chart": cost_chart(group),
        }
        for group in groups
    ]
    runs = [run for group in groups for standing in group.standings for run in standing.runs]
    joules = [run.spent("energy_joules") for run in runs]
    known = [value for value in joules if not math.isnan(value)]
    return {
        "tables": tables,
        "features": features_sentence(embedded or {}),
        "has_energy": bool(known),
        "seconds": sum(run.spent("fit_seconds") for run in runs),
        "trainings": sum(run.trainings for run in runs),
        "has_choices": any(run.trainings > 1 for run in runs),
        "watt_hours": sum(known) / _JOULES_PER_WATT_HOUR if len(known) == len(runs) else None,
    }


def _row(standing: Standing) -> dict[str, Any]:
    seconds, images = standing.spent("fit_seconds"), standing.spent("gradient_images")
    return {
        "method": standing.method,
        "test_accuracy": standing.test_accuracy,
        "seconds": seconds,
        "images": images,
        "rate": images / seconds if seconds > 0 else None,
        "steps": round(float(np.mean([sum(run.stage_steps.values()) for run in standing.runs]))),
        "parameters": standing.runs[0].parameters,
        "watt_hours": standing.spent("energy_joules") / _JOULES_PER_WATT_HOUR,
    }
