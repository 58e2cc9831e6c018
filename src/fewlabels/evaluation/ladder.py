"""Which rung to stand on: the cheapest that no costlier one is shown to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewlabels.evaluation.standings import Group, Standing
from fewlabels.evaluation.verdicts import labels_text, p_text, percent


def recommended(group: Group, rungs: Sequence[str]) -> Standing:
    """Return the rung to take: from the cheapest up, one steps on where the difference is more than chance.

    Parameters
    ----------
    group : Group
        The rungs at one number of labels.
    rungs : sequence of str
        Their names, cheapest first.
    """
    standings = {standing.method: standing for standing in group.standings}
    here = next(standings[name] for name in rungs if name in standings)
    for name in rungs:
        duel = None if name not in standings or name == here.method else group.duel(name, here.method)
        if duel is not None and duel.is_shown and duel.result.difference > 0:
            here = standings[name]
    return here


def advice(groups: Sequence[Group], rungs: Sequence[str], embedded: dict[str, Any]) -> list[str]:
    """Return a recommendation for each number of labels, with what each rung costs and brings.

    Parameters
    ----------
    groups : sequence of Group
    rungs : sequence of str
        Cheapest first.
    embedded : dict
        See `fewlabels.evaluation.contenders.Field`.
    """
    sentences = []
    for group in groups:
        best = recommended(group, rungs)
        costs = ", ".join(
            f"{standing.method} {percent(standing.test_accuracy)} in {standing.spent('fit_seconds'):,.0f} s"
            for standing in sorted(group.standings, key=lambda standing: rungs.index(standing.method))
        )
        labels, reason = labels_text(group.labels_per_class), _reason(group, best, rungs)
        sentences.append(f"recommendation {labels}: {best.method}, {reason} ({costs})")
    if embedded.get("seconds"):
        sentences.append(
            f"the features were made once, {embedded['images']:,} images in {embedded['seconds']:,.0f} s, which is not "
            "in the seconds above"
        )
    if embedded.get("trained_on"):
        sentences.append(f"the pretrained net, {embedded['net']}, was trained on {embedded['trained_on']}")
    if embedded.get("warning"):
        sentences.append(f"warning: {embedded['warning']}")
    return sentences


def _reason(group: Group, best: Standing, rungs: Sequence[str]) -> str:
    others = [standing.method for standing in group.standings if standing.method != best.method]
    if not others:
        return "the only rung that was tried"
    costlier = [name for name in others if rungs.index(name) > rungs.index(best.method)]
    cheaper = [name for name in others if rungs.index(name) < rungs.index(best.method)]
    parts = []
    for name in cheaper:
        duel = group.duel(best.method, name)
        if duel is not None and duel.is_shown and duel.result.difference > 0:
            parts.append(f"{100 * duel.result.difference:.1f} points over {name}, {p_text(duel.p_corrected)}")
    if costlier:
        parts.append(f"not shown to be beaten by the costlier {' and '.join(costlier)}")
    return "; ".join(parts)
