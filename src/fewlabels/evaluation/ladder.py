"""Which rung to stand on: the cheapest that no costlier one is shown to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fewlabels.evaluation.standings import Duel, Group, Standing
from fewlabels.evaluation.verdicts import labels_text, p_text, percent
from fewlabels.storage.wording import enumeration, seconds


def recommended(group: Group, rungs: Sequence[str]) -> Standing:
    """Return the cheapest rung that no costlier one beats by more than chance.

    Parameters
    ----------
    group : Group
        The rungs at one number of labels.
    rungs : sequence of str
        Their names, cheapest first.
    """
    tried = _in_order(group, rungs)
    # Nothing is above the last.
    return next(one for number, one in enumerate(tried) if _better(group, tried[number + 1 :], one) is None)


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
            f"{standing.method} {percent(standing.test_accuracy)} in {seconds(standing.spent('fit_seconds'))} s"
            for standing in _in_order(group, rungs)
        )
        labels = labels_text(group.labels_per_class, group.labels_given)
        sentences.append(f"recommendation {labels}: {best.method}, {_reason(group, best, rungs)} ({costs})")
    if (made := features_sentence(embedded)) is not None:
        sentences.append(made)
    if embedded.get("trained_on"):
        sentences.append(f"the pretrained net, {embedded['net']}, was trained on {embedded['trained_on']}")
    if embedded.get("warning"):
        sentences.append(f"warning: {embedded['warning']}")
    return sentences


def features_sentence(embedded: dict[str, Any]) -> str | None:
    """Say what it took to make features, None where none were made; see `advice` for `embedded`.

    Examples
    --------
    >>> features_sentence({"images": 1797, "seconds": 3.21})
    'the features were made once, 1,797 images in 3.2 s, which is not in the seconds above'
    """
    if not embedded.get("seconds"):
        return None
    return (
        f"the features were made once, {embedded['images']:,} images in {seconds(embedded['seconds'])} s, which is not "
        "in the seconds above"
    )


def _reason(group: Group, best: Standing, rungs: Sequence[str]) -> str:
    tried = _in_order(group, rungs)
    if len(tried) == 1:
        return "the only rung that was tried"
    number = tried.index(best)
    parts = []
    for cheaper in tried[:number]:
        # One that neither the rung to take nor a costlier one is shown to beat is beaten by one between.
        above = tried[tried.index(cheaper) + 1 : number]
        duel = _better(group, tried[number:], cheaper) or _better(group, above, cheaper)
        assert duel is not None
        points = f"{100 * duel.result.difference:.1f} points"
        said = f"{points} over {cheaper.method}"
        if duel.method != best.method:
            said = f"{cheaper.method} is {points} below {duel.method}"
        parts.append(f"{said}, {p_text(duel.p_corrected)}")
    costlier = [one.method for one in tried[number + 1 :]]
    if costlier:
        parts.append(f"not shown to be beaten by the costlier {enumeration(costlier)}")
    return "; ".join(parts)


def _in_order(group: Group, rungs: Sequence[str]) -> list[Standing]:
    return sorted(group.standings, key=lambda standing: rungs.index(standing.method))


def _better(group: Group, ones: Sequence[Standing], other: Standing) -> Duel | None:
    """Return the duel of the first of some that beats another by more than chance; None if none does."""
    duels = (group.duel(one.method, other.method) for one in ones)
    return next((duel for duel in duels if duel and duel.is_shown and duel.result.difference > 0), None)
