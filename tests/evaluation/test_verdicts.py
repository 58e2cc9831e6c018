from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from fewlabels.evaluation import Comparison, Run, standings
from fewlabels.evaluation.intervals import wilson_interval
from fewlabels.evaluation.pool_sample import PoolSample
from fewlabels.evaluation.standings import groups_of
from fewlabels.evaluation.verdicts import caveat, duel_sentence, headline, pool_lines, pool_sentence, standing_sentences
from fewlabels.report.overview import group_view, varied_text

N = 1000
# One pool image, guessed right.
POOL = PoolSample(
    np.zeros(1, np.int64), np.ones(1, np.float32), np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0), 1, 1
)


def run(method: str, right: int, *, seed: int = 0, labels: int | None = 10, **more) -> Run:
    """A run that gets the first `right` of 1,000 two-class test images right."""
    labels_ = np.arange(N) % 2
    guesses = np.where(np.arange(N) < right, labels_, 1 - labels_)
    low, high = wilson_interval(right, N)
    facts = {"train_accuracy": 1.0, "validation_accuracy": math.nan, "test_low": low, "test_high": high}
    facts |= {"fit_seconds": 1.0, "gradient_images": 100, "parameters": 10, "test_accuracy": right / N}
    facts |= {"pool_sample": POOL} | more
    return Run(
        method=method,
        labels_per_class=labels,
        seed=seed,
        test_probabilities=np.eye(2)[guesses],
        test_labels=labels_,
        **facts,
    )


def group(*runs: Run):
    return groups_of(runs)[0]


def test_a_clear_lead_is_a_win_with_its_points():
    found = group(run("supervised", 700), run("self-training", 734))
    assert headline(found).startswith(
        "self-training wins with 10 labels per class: 73.4% test accuracy (70.6% to 76.0%)"
    )
    assert "3.4 points above supervised (p < 0.001)" in headline(found)
    sentence = duel_sentence(found.standings[1].duels[0])
    assert sentence.startswith("beats supervised by 3.4 points (2.2 to 4.5), p < 0.001")


def test_a_lead_within_chance_is_no_difference_shown():
    found = group(run("supervised", 700), run("self-training", 703))
    assert "no difference to supervised is shown" in headline(found)
    assert duel_sentence(found.standings[1].duels[0]).startswith("no difference to supervised shown (+0.3 points")


def test_a_worse_method_is_called_worse():
    found = group(run("supervised", 700), run("joint-autoencoder", 650))
    assert duel_sentence(found.standings[1].duels[0]).startswith("worse than supervised by 5.0 points (3.")
    assert headline(found).startswith("supervised wins")


def test_a_difference_that_only_chance_among_many_pairs_makes_is_not_shown():
    # Alone, six images of difference have p = 0.031; among three pairs Holm's correction takes them back.
    assert group(run("supervised", 700), run("self-training", 706)).standings[1].duels[0].is_shown
    three = group(run("supervised", 700), run("self-training", 706), run("joint-autoencoder", 703))
    duel = three.standings[1].duels[0]
    assert not duel.is_shown
    # Its own interval leaves zero out: why nothing is shown is said.
    assert duel.result.low > 0
    for sentence in (duel_sentence(duel), pool_sentence(duel)):
        assert "p = 0.031 were this the only pair, p = 0.094 as one of all)" in sentence


def test_of_a_pool_that_was_held_back_nothing_is_judged():
    found = Comparison(("x", "y"), {}, [run("supervised", 700), run("fix-match", 650, held_back=True)])
    assert found.groups[0].pool_duel("fix-match") is None
    told = "  fix-match: the guard held the pool back: the labels alone were learned"
    assert told in found.verdicts()
    # The page says what the screen says.
    assert [f"  {name}: {line}" for name, _, line in group_view(found.groups[0])["pool"]] == [told]


def test_of_a_pool_that_was_held_back_in_some_seeds_the_verdict_says_in_how_many():
    runs = [run(method, right, seed=seed) for seed in range(3) for method, right in (("supervised", 700), ("uda", 760))]
    runs[1], runs[3] = (dataclasses.replace(one, held_back=True) for one in (runs[1], runs[3]))
    found = group(*runs)
    assert found.without_pool == []
    line = pool_lines(found)["uda"]
    assert line.startswith("the pool helped by 6.0 points")
    assert line.endswith("; the guard held the pool back in 2 of 3 seeds")


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ((1, 3), "; the guard fell back on the labels alone in 2 of 3 seeds"),
        ((1, 3, 5), "; the guard fell back on the labels alone in every seed"),
    ],
)
def test_of_a_guard_that_fell_back_the_verdict_says_so_beside_the_difference(seeds, told):
    runs = [run(method, right, seed=seed) for seed in range(3) for method, right in (("supervised", 700), ("uda", 690))]
    for place in seeds:
        runs[place] = dataclasses.replace(runs[place], fell_back=True)
    line = pool_lines(group(*runs))["uda"]
    assert line.startswith("the pool hurt by 1.0 points")
    assert line.endswith(told)


def test_a_guard_that_fell_back_on_a_pretrained_encoder_is_told_apart():
    alone = [run("supervised", 700, seed=seed) for seed in range(3)]
    fallen = [
        dataclasses.replace(run("auto", 690, seed=seed), fell_back=True, fell_back_pretrained=seed == 1)
        for seed in range(3)
    ]
    line = pool_lines(group(*alone, *fallen))["auto"]
    told = "the guard fell back on the labels alone in 2 of 3 seeds; the guard fell back on the labels alone after "
    assert line.endswith(f"; {told}pretraining on the pool in 1 of 3 seeds")


def test_what_is_true_of_some_seeds_alone_says_of_which():
    findings = (["the guard fired", "a wolf"], ["a wolf"], ["a wolf", "the guard fired"])
    rounds = [{"pool_share": 0.8, "precision": 0.9, "accepted": True}]
    runs = [run("self-training", 700, seed=seed, findings=own, rounds=rounds) for seed, own in enumerate(findings)]
    sentences = standing_sentences(group(*runs).standings[0])
    assert sentences[1].startswith("seed 0: 1 round of self-training")
    assert sentences[2:] == ["seeds 0 and 2: the guard fired", "a wolf"]
    assert standing_sentences(group(runs[0]).standings[0])[2:] == ["the guard fired", "a wolf"]


def test_methods_of_equal_accuracy_are_level_whatever_their_order():
    found = group(run("b", 700), run("a", 700), run("c", 690), run("d", 500))
    said = "are level with 10 labels per class: 70.0% test accuracy each"
    assert headline(found) == f"b and a {said}; better than c and d."
    assert group_view(found)["best"] == ["b", "a"]
    near = group(run("a", 700), run("c", 699), run("b", 700))
    assert headline(near) == f"a and b {said}, but no difference to c is shown."
    # Of 60.1, 70.2 and 80.3 % the mean has another last bit in another order.
    seeds = [("a", (601, 702, 803)), ("b", (803, 702, 601))]
    over_seeds = group(*[run(name, right, seed=n) for name, rights in seeds for n, right in enumerate(rights)])
    assert headline(over_seeds).startswith("a and b are level")


def test_no_difference_has_no_sign_whichever_method_comes_first():
    found = group(run("uda", 700), run("supervised", 700))
    assert pool_sentence(found.pool_duel("uda")).startswith("no difference shown (+0.0 points")
    result = found.duel("uda", "supervised").result
    zeros = [result.difference, *result.seed_differences, result.error_reduction, result.cohens_g]
    assert [math.copysign(1, zero) for zero in zeros] == [1] * 4


def test_over_seeds_the_sentence_says_what_each_seed_did():
    runs = [
        run(method, right + 10 * seed, seed=seed) for seed in range(3) for method, right in (("a", 600), ("b", 650))
    ]
    sentence = duel_sentence(group(*runs).standings[1].duels[0])
    assert "seed by seed +5.0, +5.0, +5.0" in sentence


def test_seeds_that_happen_to_agree_do_not_make_an_accuracy_certain():
    found = group(run("a", 700, seed=0), run("a", 700, seed=1)).standings[0]
    assert (found.low, found.high) == pytest.approx(wilson_interval(700, N))
    # Where they differ much, that counts.
    apart = group(run("a", 600, seed=0), run("a", 800, seed=1)).standings[0]
    assert (apart.low, apart.high) == (0, 1)


def test_methods_are_compared_on_the_seeds_that_both_have_finished():
    found = group(run("a", 600, seed=0), run("b", 650, seed=0), run("a", 900, seed=1))
    assert found.standings[1].duels[0].result.seed_differences == (pytest.approx(0.05),)


def test_a_lead_that_comes_of_a_seed_the_other_has_not_finished_is_no_win():
    found = group(run("supervised", 700), run("uda", 780), run("supervised", 900, seed=1))
    assert headline(found).startswith("supervised has the highest accuracy with 10 labels per class, 80.0% test")
    assert headline(found).endswith("but in the seeds that both have finished it is worse than uda.")


def test_numbers_of_labels_are_kept_apart():
    groups = groups_of([run("a", 600, labels=10), run("a", 700, labels=50)])
    assert [found.labels_per_class for found in groups] == [10, 50]
    assert [found.best.test_accuracy for found in groups] == [0.6, 0.7]


def test_one_seed_carries_a_caveat_and_three_do_not():
    assert "One seed" in caveat(group(run("a", 600), run("b", 650)))
    assert caveat(group(*[run(m, 600, seed=s) for s in range(3) for m in "ab"])) is None


def test_the_caveat_goes_by_the_seeds_that_methods_have_in_common():
    several = [run("supervised", 700, seed=seed) for seed in range(3)]
    assert caveat(group(*several, run("uda", 760))).startswith("One seed, of some methods: this is about")
    two = [run("uda", 760, seed=seed) for seed in range(2)]
    assert caveat(group(*several, *two)).startswith("Two seeds, of some methods: enough")


def test_seeds_of_the_same_labels_carry_a_caveat():
    runs = [run(method, right, seed=seed) for seed in range(3) for method, right in (("supervised", 700), ("uda", 760))]
    kept = Comparison(("x", "y"), {"arguments": {"vary": ["weights"]}}, runs)
    told = "All seeds have the same labels: another draw of labels may turn small differences around."
    assert told in kept.verdicts()
    assert group_view(kept.groups[0], same_labels=True)["caveat"] == told
    for vary in (["labels", "weights"], None):
        assert told not in Comparison(("x", "y"), {"arguments": {"vary": vary}}, runs).verdicts()


def test_facts_of_a_run_become_sentences():
    rounds = [
        {"pool_share": 0.4, "precision": 0.95, "accepted": True},
        {"pool_share": 0.8, "precision": 0.9, "accepted": True},
    ]
    sentences = standing_sentences(group(run("self-training", 700, rounds=rounds)).standings[0])
    assert sentences[0].startswith("overfitting gap of 30.0 points: 100.0% on the images it learned from, 70.0% on")
    assert "the last with 80% of the pool, of whose pseudo-labels 90.0% are right (95.0% of the 40%" in sentences[1]
    assert "true class is known" not in sentences[1]


def test_of_a_pool_with_some_known_classes_it_is_told_among_how_many_pseudo_labels_the_right_ones_are_counted():
    rounds = [{"pool_share": 0.8, "precision": 0.9, "checked": 0.125, "accepted": True}]
    sentences = standing_sentences(group(run("self-training", 700, rounds=rounds)).standings[0])
    assert "90.0% are right, counted among the 12.5% whose true class is known" in sentences[1]


def test_a_comparison_is_json_without_nan():
    text = json.dumps(Comparison(("x", "y"), {}, [run("a", 600), run("b", 650)]).to_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["runs"][0]["validation_accuracy"] is None
    assert found["paired_tests"][0]["difference"] == pytest.approx(0.05)


def test_pairs_are_tested_once_for_all_tables_and_sentences_and_anew_where_a_run_joins(monkeypatch):
    tested = []
    compare_over_seeds = standings.compare_over_seeds
    monkeypatch.setattr(standings, "compare_over_seeds", lambda a, b: tested.append(1) or compare_over_seeds(a, b))
    comparison = Comparison(("x", "y"), {}, [run("a", 600), run("b", 650)])
    comparison.to_dict()
    comparison.to_frame("tests")
    assert len(tested) == 1
    comparison.runs.append(run("c", 700))
    assert [one["other"] for one in comparison.paired_tests()] == ["a", "a", "b"]
    assert len(tested) == 1 + 3
    comparison.runs.sort(key=lambda one: one.test_accuracy, reverse=True)
    assert comparison.groups[0].standings[0].method == "c"


def test_the_pool_helped_hurt_or_neither_in_plain_words():
    seeds = range(3)
    runs = [
        run(method, right + 10 * seed, seed=seed)
        for seed in seeds
        for method, right in (("supervised", 700), ("uda", 760), ("vat", 640), ("pi-model", 701))
    ]
    found = group(*runs)
    sentences = {name: pool_sentence(found.pool_duel(name)) for name in ("uda", "vat", "pi-model")}
    assert sentences["uda"].startswith("the pool helped by 6.0 points (4.6 to 7.4), 21% fewer errors, p < 0.001")
    assert sentences["vat"].startswith("the pool hurt by 6.0 points (4.6 to 7.4), 21% more errors, p < 0.001")
    assert sentences["pi-model"].startswith("no difference shown (+0.1 points, -0.2 to 0.4;")
    assert found.pool_duel("supervised") is None
    told = Comparison(("x", "y"), {}, runs).verdicts()
    assert f"  uda: {sentences['uda']}" in told


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_another_net_brings_is_not_laid_to_the_pool(seeds):
    runs = [
        run(method, right + 10 * seed, seed=seed)
        for seed in range(seeds)
        for method, right in (("supervised", 700), ("uda", 760), ("net-and-patches", 760), ("kmeans-features", 700))
    ]
    runs = [dataclasses.replace(one, parameters=1 + ("es" in one.method)) for one in runs]
    lines = pool_lines(group(*runs))
    said = (
        "6.0 points better than the labels alone (" if seeds > 1 else "6.0 points better than the labels alone in this"
    )
    assert lines["net-and-patches"].startswith(said)
    assert lines["net-and-patches"].endswith("% fewer errors, p < 0.001, with another net than theirs")
    assert "another net" not in lines["uda"]
    # Where nothing is shown, nothing has to be laid to anything.
    assert lines["kmeans-features"].startswith("no difference shown")
    assert "another net" not in lines["kmeans-features"]


def test_the_verdict_on_a_pool_does_not_depend_on_the_order_of_the_methods():
    forth = group(run("supervised", 700), run("uda", 760)).pool_duel("uda")
    back = group(run("uda", 760), run("supervised", 700)).pool_duel("uda")
    assert pool_sentence(forth) == pool_sentence(back)
    assert pool_sentence(forth).startswith("6.0 points better than the labels alone in this one training (4.5 to 7.5)")
    worse = group(run("supervised", 760), run("uda", 700)).pool_duel("uda")
    assert pool_sentence(worse).startswith(
        "6.0 points worse than the labels alone in this one training (4.5 to 7.5), 25%"
    )


def test_without_a_pool_nothing_is_said_of_it():
    runs = [run(name, right, pool_sample=None) for name, right in (("supervised", 700), ("uda", 760), ("vat", 640))]
    told = Comparison(("x", "y"), {}, runs).verdicts()
    assert not [sentence for sentence in told if "pool" in sentence]
    assert [sentence for sentence in told if sentence.startswith("  uda: beats supervised by 6.0 points")]


def test_where_all_images_are_labeled_nothing_is_said_of_the_pool_that_fewer_labels_leave():
    few = [run(name, right, labels=6) for name, right in (("supervised", 700), ("uda", 760), ("vat", 640))]
    all_ = [dataclasses.replace(one, labels_per_class=12, pool_sample=None) for one in few]
    comparison = Comparison(("x", "y"), {}, few + all_)
    told = comparison.verdicts()
    assert sum("than the labels alone in this one training" in sentence for sentence in told) == 2
    assert sum(sentence.startswith("  uda: beats supervised by 6.0 points") for sentence in told) == 1
    assert [bool(group_view(group)["pool"]) for group in comparison.groups] == [True, False]


def test_whoever_makes_no_mistake_spares_all_of_the_other_s():
    found = group(run("self-training", N), run("supervised", 900))
    assert found.duel("self-training", "supervised").result.error_reduction == 1.0
    assert math.isnan(found.duel("supervised", "self-training").result.error_reduction)


def test_the_pool_is_not_said_to_have_helped_what_does_not_learn_from_it():
    comparison = Comparison(("a", "b"), {}, [run("supervised", 600), run("linear-probe", 700), run("uda", 800)])
    lines = [line.strip() for line in comparison.verdicts()]
    assert any(line.startswith("uda: 20.0 points better than the labels alone") for line in lines)
    probe = next(line for line in lines if line.startswith("linear-probe:"))
    assert "pool" not in probe
    assert "10.0 points" in probe


def test_a_difference_is_not_said_to_be_the_pools_where_auto_took_the_labels_alone():
    runs = [
        run(name, right + seed, seed=seed) for seed in range(3) for name, right in (("supervised", 700), ("auto", 780))
    ]
    alone = [one if one.method == "supervised" else dataclasses.replace(one, labels_alone=True) for one in runs]
    assert pool_lines(group(*alone)) == {"auto": "it took the labels alone: nothing was learned from the pool"}
    assert group(*alone).pool_duel("auto") is None
    alone[1] = runs[1]
    assert pool_lines(group(*alone))["auto"].endswith("; it took the labels alone in 2 of 3 seeds")
    assert "labels alone" not in pool_lines(group(*runs))["auto"]


def test_what_rounds_to_nothing_has_no_sign():
    found = group(run("supervised", 700), run("uda", 700))
    duel = dataclasses.replace(
        found.pool_duel("uda"),
        result=dataclasses.replace(found.pool_duel("uda").result, difference=-0.0003, low=-0.01, high=-0.0002),
    )
    assert pool_sentence(duel).startswith("no difference shown (+0.0 points, -1.0 to 0.0;")
    assert duel_sentence(duel).startswith("no difference to supervised shown (+0.0 points, 95% interval -1.0 to 0.0;")
    [standing] = group(run("supervised", 700, train_accuracy=0.6996)).standings
    assert any(one.startswith("overfitting gap of 0.0 points") for one in standing_sentences(standing))


def test_what_differs_from_seed_to_seed_is_what_did():
    def data(*fingerprints):
        return {f"10 labels per class, seed {seed}": {"fingerprint": one} for seed, one in enumerate(fingerprints)}

    assert varied_text({"data": data("a", "b")}).startswith("the labels drawn and the images held out, the initial")
    assert varied_text({"data": data("a", "a")}).startswith("the images held out, the initial weights")
    kept = varied_text({"data": data("a"), "arguments": {"vary": ["weights"]}})
    assert kept.startswith("the initial weights differed; the labels drawn and the images held out and")


def test_the_lead_is_told_over_the_next_best():
    found = group(run("supervised", 700), run("self-training", 734), run("joint-autoencoder", 500))
    assert "3.4 points above the next, supervised (p < 0.001)" in headline(found)


def test_of_methods_that_are_level_each_has_to_be_better_than_the_others():
    # As accurate, on other images: what one is clearly better than the other may be level with.
    last = run("b", 700)
    guesses = np.where(np.arange(N) >= 300, last.test_labels, 1 - last.test_labels)
    last = dataclasses.replace(last, test_probabilities=np.eye(2)[guesses])
    found = group(run("a", 700), last, run("c", 690))
    assert found.duel("a", "c").is_shown
    assert not found.duel("b", "c").is_shown
    assert headline(found).endswith("each, but no difference to c is shown.")


def test_pairs_of_all_numbers_of_labels_are_corrected_together():
    # Six images of difference alone have p = 0.031, and two such pairs 0.062.
    runs = [run(name, right, labels=labels) for labels in (10, 50) for name, right in (("a", 700), ("b", 706))]
    assert group(*runs[:2]).standings[1].duels[0].is_shown
    assert [found.standings[1].duels[0].is_shown for found in groups_of(runs)] == [False, False]


def test_a_duel_that_is_turned_around_has_its_effects_turned():
    rights = {"a": (700, 710, 705), "b": (760, 740, 750)}
    found = group(*[run(name, right, seed=seed) for name, seeds in rights.items() for seed, right in enumerate(seeds)])
    forth, back = found.duel("b", "a").result, found.duel("a", "b").result
    assert forth.cohens_d > 0
    assert (back.cohens_d, back.cohens_g) == (-forth.cohens_d, -forth.cohens_g)
    assert (back.low, back.high) == (-forth.high, -forth.low)
