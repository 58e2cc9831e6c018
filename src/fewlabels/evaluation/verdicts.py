"""Measured facts as plain sentences."""

from __future__ import annotations

import math
from typing import Any

from fewlabels.evaluation.standings import LEVEL, Duel, Group, Standing
from fewlabels.methods.guard import after_pretraining
from fewlabels.storage.wording import counted, enumeration


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal; a dash for NaN.

    Examples
    --------
    >>> percent(0.4305), percent(float("nan"))
    ('43.0%', '–')
    """
    return "–" if math.isnan(share) else f"{share:.1%}"


def p_text(p_value: float) -> str:
    """Return 'p < 0.001' or 'p = 0.012'; no p below the level of 0.05 is rounded up to it.

    Examples
    --------
    >>> p_text(0.0004), p_text(0.0123), p_text(0.2), p_text(0.04962)
    ('p < 0.001', 'p = 0.012', 'p = 0.20', 'p = 0.0496')
    """
    if p_value < 0.001:
        return "p < 0.001"
    text = f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"
    if p_value < LEVEL <= float(text):
        text = f"{math.floor(p_value * 10_000) / 10_000:.4f}"
    return f"p = {text}"


def labels_text(labels_per_class: int | None, given: int = 0) -> str:
    """Return how many labels were learned from: those drawn of each class, and those given by hand.

    Examples
    --------
    >>> labels_text(1), labels_text(None)
    ('with 1 label per class', 'with the labels of the source')
    >>> labels_text(50, 300)
    'with 50 labels per class and 300 given by hand'
    """
    if labels_per_class is None:
        # Those of a labels file are among them.
        return "with the labels of the source"
    drawn = f"with {counted(labels_per_class, 'label')} per class"
    return f"{drawn} and {given:,} given by hand" if given else drawn


def duel_sentence(duel: Duel) -> str:
    """Say whether a method beats another.

    Where there are several seeds, what each of them says follows, and the test over images alone.
    """
    result = duel.result
    size = f"{abs(result.difference) * 100:.1f} points"
    p_value = p_text(duel.p_corrected)
    if not duel.is_shown:
        signed = f"{_signed(result.difference)} points, 95% interval {_points(result.low, result.high)}"
        sentence = f"no difference to {duel.other} shown ({signed}; {_chance(duel)})"
    elif result.difference > 0:
        sentence = f"beats {duel.other} by {size} ({_points(result.low, result.high)}), {p_value}"
    else:
        sentence = f"worse than {duel.other} by {size} ({_points(-result.high, -result.low)}), {p_value}"
    return sentence + _seeds_say(duel)


def pool_sentence(duel: Duel, *, same_net: bool = True) -> str:
    """Say whether the pool helped a method, hurt it, or neither is shown, against the labels alone.

    Parameters
    ----------
    duel : Duel
        Of the method with the one that learns from the labels alone, see `Group.pool_duel`.
    same_net : bool
        Whether both train the same net. Where they do not, a difference is not said to be the pool's.

    Returns
    -------
    str
        "the pool helped by 6.1 points (4.9 to 7.3), 21% fewer errors, p < 0.001", "no difference shown …", or
        "the pool hurt by …". Of a single training each nothing is said of the pool, but "6.1 points better than the
        labels alone in this one training (4.9 to 7.3) …"; of another net "6.1 points better than the labels alone
        (4.9 to 7.3) …, with another net than theirs".
    """
    result = duel.result
    size, p_value = f"{abs(result.difference) * 100:.1f} points", p_text(duel.p_corrected)
    if not duel.is_shown:
        points = f"{_signed(result.difference)} points, {_points(result.low, result.high)}"
        return f"no difference shown ({points}; {_chance(duel)})"
    errors = "" if math.isnan(result.error_reduction) else f", {abs(result.error_reduction):.0%} {{}} errors"
    better = result.difference > 0
    interval = _points(result.low, result.high) if better else _points(-result.high, -result.low)
    # Of methods that are equal, one training each is often enough luckier than another to be told apart.
    single = len(result.seed_differences) == 1
    if same_net and not single:
        found = f"the pool {'helped' if better else 'hurt'} by {size} ({interval})"
    else:
        where = " in this one training" if single else ""
        found = f"{size} {'better' if better else 'worse'} than the labels alone{where} ({interval})"
    found += f"{errors.format('fewer' if better else 'more')}, {p_value}"
    return found if same_net else f"{found}, with another net than theirs"


def pool_lines(group: Group) -> dict[str, str]:
    """Return what is said of the pool, by method; nothing of a method that does not learn from it."""
    if not group.has_pool:
        return {}
    lines = {}
    for standing in group.standings:
        held_back, seeds = sum(run.held_back for run in standing.runs), len(standing.runs)
        alone = sum(run.labels_alone for run in standing.runs)
        if held_back == seeds:
            lines[standing.method] = "the guard held the pool back: the labels alone were learned"
        elif standing.method in group.without_pool:
            lines[standing.method] = "it took the labels alone: nothing was learned from the pool"
        elif (duel := group.pool_duel(standing.method)) is not None:
            partly = f"; the guard held the pool back in {held_back} of {seeds} seeds" if held_back else ""
            partly += f"; it took the labels alone in {alone} of {seeds} seeds" if alone else ""
            for pretrained in (False, True):
                fell_back = sum(run.fell_back and run.fell_back_pretrained == pretrained for run in standing.runs)
                if fell_back:
                    partly += f"; the guard fell back on the labels alone{after_pretraining(pretrained)}"
                if fell_back and seeds > 1:
                    partly += " in every seed" if fell_back == seeds else f" in {fell_back} of {seeds} seeds"
            same_net = group.has_net_of_labels_alone(standing.method)
            lines[standing.method] = pool_sentence(duel, same_net=same_net) + partly
    return lines


def standing_sentences(standing: Standing) -> list[str]:
    """Say how a method stands against those before it, whether it overfits, and what its own figures show.

    What is true of some seeds alone begins with these.
    """
    sentences = [duel_sentence(duel) for duel in standing.duels]
    sentences.append(overfitting_sentence(standing))
    first = standing.runs[0]
    some = [(_rounds_sentence(first.rounds), [first.seed])] if first.rounds else []
    if first.reconstructions is not None:
        error = first.reconstructions.error
        off = (
            f"the reconstructions of test images are off by {math.sqrt(error):.3f} of the brightness range "
            f"(root of the mean squared error {error:.4f})"
        )
        some.append((off, [first.seed]))
    # The same finding is told once, wherever it stands among those of a seed.
    found: dict[str, list[int]] = {}
    for run in standing.runs:
        for finding in run.findings:
            found.setdefault(finding, []).append(run.seed)
    for fact, seeds in [*some, *found.items()]:
        of_all = len(seeds) == len(standing.runs)
        whose = f"seed{'' if len(seeds) == 1 else 's'} {enumeration([str(seed) for seed in seeds])}: "
        sentences.append(fact if of_all else whose + fact)
    return sentences


def overfitting_sentence(standing: Standing) -> str:
    """Say how much better a method is on the images it learned from than on the test images."""
    gap = standing.train_accuracy - standing.test_accuracy
    if math.isnan(gap):
        return "train accuracy was not measured"
    return (
        f"overfitting gap of {_hundredths(gap):.1f} points: {percent(standing.train_accuracy)} on the images it "
        f"learned from, {percent(standing.test_accuracy)} on test images"
    )


def headline(group: Group) -> str:
    """Say which method is best and how surely."""
    best = group.best
    result = f"{percent(best.test_accuracy)} test accuracy ({percent(best.low)} to {percent(best.high)})"
    where = labels_text(group.labels_per_class, group.labels_given)
    if len(group.standings) == 1:
        return f"{best.method} reaches {result} {where}."
    against = [(other.method, group.duel(best.method, other.method)) for other in group.standings if other is not best]
    # A comparison that was stopped has methods of fewer seeds, perhaps without the one that was easy.
    ahead = [name for name, duel in against if duel is not None and duel.is_shown and duel.result.difference < 0]
    if ahead:
        return (
            f"{best.method} has the highest accuracy {where}, {result}, but in the seeds that both have finished it is "
            f"worse than {enumeration(ahead)}."
        )
    if len(group.leaders) > 1:
        return _level(group)
    open_ones = [name for name, duel in against if duel is None or not duel.is_shown]
    if not open_ones:
        nearest = min((duel for _, duel in against if duel is not None), key=lambda duel: duel.result.difference)
        next_one = nearest.other if len(against) == 1 else f"the next, {nearest.other}"
        return (
            f"{best.method} wins {where}: {result}, {nearest.result.difference * 100:.1f} points above "
            f"{next_one} ({p_text(nearest.p_corrected)})."
        )
    behind = [name for name, duel in against if name not in open_ones]
    sentence = f"{best.method} is ahead {where}: {result}, but no difference to {enumeration(open_ones)} is shown"
    return sentence + (f"; better than {enumeration(behind)}." if behind else ".")


def _level(group: Group) -> str:
    """Say which methods share the highest accuracy, and how they stand to the others."""
    leaders = [standing.method for standing in group.leaders]
    others = [standing.method for standing in group.standings if standing.method not in leaders]
    duels = {other: [group.duel(name, other) for name in leaders] for other in others}
    behind = [other for other in others if all(duel is not None and duel.is_shown for duel in duels[other])]
    open_ones = [other for other in others if other not in behind]
    sentence = f"{enumeration(leaders)} are level {labels_text(group.labels_per_class, group.labels_given)}: "
    sentence += f"{percent(group.best.test_accuracy)} test accuracy each"
    if open_ones:
        sentence += f", but no difference to {enumeration(open_ones)} is shown"
    return sentence + (f"; better than {enumeration(behind)}." if behind else ".")


def caveat(group: Group, *, same_labels: bool = False) -> str | None:
    """Return what one or two draws of labels leave open, or None where there are more or a single method.

    Parameters
    ----------
    group : Group
        Of methods of which some may have finished fewer seeds than others.
    same_labels : bool
        Whether all seeds learn from the same labels.
    """
    if len(group.standings) < 2:
        return None
    most = max(len(standing.runs) for standing in group.standings)
    common = [len(duel.result.seed_differences) for standing in group.standings for duel in standing.duels]
    seeds = min(common, default=most)
    some = ", of some methods" if seeds < most else ""
    if seeds == 2:
        return f"Two seeds{some}: enough to see that results vary, too few to say how much; three or more tell."
    if seeds == 1:
        return (
            f"One seed{some}: this is about these trained models. Other draws of labels and other initial weights may "
            "turn small differences around; three seeds or more tell."
        )
    if same_labels:
        return "All seeds have the same labels: another draw of labels may turn small differences around."
    return None


def _points(low: float, high: float) -> str:
    return f"{_hundredths(low):.1f} to {_hundredths(high):.1f}"


def _signed(difference: float) -> str:
    return f"{_hundredths(difference):+.1f}"


def _hundredths(share: float) -> float:
    """Return a share in points as it is shown: what rounds to nothing has no sign.

    Examples
    --------
    >>> f"{_hundredths(-0.0003):+.1f}", f"{_hundredths(-0.0123):+.1f}"
    ('+0.0', '-1.2')
    """
    return round(100 * share, 1) + 0.0


def _chance(duel: Duel) -> str:
    """Return the p-value; both where the pair alone would be shown, and chance may be why among so many."""
    if not duel.would_be_shown_alone:
        return p_text(duel.p_corrected)
    return f"{p_text(duel.result.p_value)} were this the only pair, {p_text(duel.p_corrected)} as one of all"


def _seeds_say(duel: Duel) -> str:
    differences = duel.result.seed_differences
    if len(differences) < 2:
        return ""
    each = ", ".join(map(_signed, differences))
    return f"; seed by seed {each} (these trained models on these images: {p_text(duel.result.image_p_value)})"


def _rounds_sentence(rounds: list[dict[str, Any]]) -> str:
    first, last = rounds[0], rounds[-1]
    count = f"{len(rounds)} round{'' if len(rounds) == 1 else 's'} of self-training"
    sentence = f"{count}, the last with {last['pool_share']:.0%} of the pool"
    if last.get("precision") is None:
        sentence += "; the truth of the pool is unknown, so its pseudo-labels cannot be checked"
    else:
        sentence += f", of whose pseudo-labels {percent(last['precision'])} are right"
        if len(rounds) > 1 and first.get("precision") is not None:
            sentence += f" ({percent(first['precision'])} of the {first['pool_share']:.0%} in the first)"
        # Comparisons of before do not tell how many could be checked.
        if (last.get("checked") or 1.0) < 1.0:
            sentence += f", counted among the {percent(last['checked'])} whose true class is known"
    return sentence if last.get("accepted", True) else f"{sentence}; the last was thrown away, as it did worse"
