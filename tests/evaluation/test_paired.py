from __future__ import annotations

import itertools

import numpy as np
import pytest

from fewlabels.evaluation.paired import compare_over_seeds, holm, mcnemar_test, sign_flip_p_value


def answers(both: int, only_a: int, only_b: int, neither: int):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


def test_mcnemar_agrees_with_the_approval_ratings_of_agresti():
    # Categorical Data Analysis, table 10.1: approval fell from 944 to 880 of 1,600; z squared is 17.36.
    result = mcnemar_test(*answers(794, 150, 86, 570))
    assert result.difference == pytest.approx(-0.04)
    assert (result.low, result.high) == pytest.approx((-0.059, -0.021), abs=5e-4)
    assert 2e-5 < result.p_value < 5e-5


def test_mcnemar_is_exact_for_few_images():
    # One against nine: twice the chance of at most one head in ten flips.
    assert mcnemar_test(*answers(5, 1, 9, 5)).p_value == pytest.approx(2 * 11 / 1024)


def test_classifiers_that_agree_everywhere_differ_by_nothing():
    result = mcnemar_test(*answers(30, 0, 0, 10))
    assert (result.difference, result.p_value) == (0, 1)
    assert result.low < 0 < result.high


def test_a_paired_test_refuses_answers_to_different_images():
    with pytest.raises(ValueError, match="same images"):
        mcnemar_test(np.ones(3, bool), np.ones(4, bool))


def test_over_seeds_the_t_test_of_students_sleep_data_decides():
    gains = [12, 24, 13, 13, 0, 10, 18, 8, 46, 14]
    pairs = [answers(20, 0, gain, 80 - gain) for gain in gains]
    result = compare_over_seeds([a for a, _ in pairs], [b for _, b in pairs])
    assert result.difference == pytest.approx(0.158)
    assert (result.low, result.high) == pytest.approx((0.0700, 0.2460), abs=1e-4)
    assert result.p_value == pytest.approx(0.00283, abs=1e-5)
    assert result.seed_differences == pytest.approx([gain / 100 for gain in gains])


def test_one_seed_is_mcnemars_test():
    a, b = answers(40, 3, 14, 20)
    # Field by field: from Python 3.13 on, results with a NaN are not equal.
    np.testing.assert_equal(vars(compare_over_seeds([a], [b])), vars(mcnemar_test(a, b)))


def test_an_image_counts_once_however_often_it_was_tested():
    a, b = answers(40, 4, 11, 20)
    once = mcnemar_test(a, b).p_value
    # The same answers in five seeds are no more evidence about the images than one seed's.
    assert compare_over_seeds([a] * 5, [b] * 5).image_p_value == pytest.approx(once)


def test_seeds_that_agree_by_luck_prove_no_more_than_their_images():
    # The t test of two equal differences has p = 0; five images that only B gets right have p = 1/16.
    a, b = answers(10, 0, 5, 5)
    twice = compare_over_seeds([a, a], [b, b])
    assert twice.p_value == pytest.approx(1 / 16)
    # An interval over seeds alone would have no width.
    once = mcnemar_test(a, b)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert twice.low < 0.25 < twice.high
    assert compare_over_seeds([a, a], [a, a]).p_value == 1


def test_a_lucky_seed_proves_nothing_about_the_method():
    # 300 images to nothing in one seed, nothing in the other: sure about the models, not about the method.
    lucky, equal = answers(400, 0, 300, 300), answers(400, 0, 0, 600)
    result = compare_over_seeds([lucky[0], equal[0]], [lucky[1], equal[1]])
    assert result.image_p_value < 1e-6
    assert result.p_value == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_the_sign_flip_test_counts_all_flips(seed):
    gains = np.random.default_rng(seed).integers(-3, 4, 9)
    totals = [abs(np.dot(signs, gains)) for signs in itertools.product([-1, 1], repeat=len(gains))]
    expected = np.mean(np.array(totals) >= abs(gains.sum()))
    assert sign_flip_p_value(gains) == pytest.approx(expected)


def test_sizes_of_gains_that_do_not_occur_are_no_gap_in_the_sign_flip_test():
    # All of one sign have 2 chances of 8; of 6, 6 and -1 the total is 11, and 4 of 8 have 11 or 13, or less than -10.
    assert sign_flip_p_value(np.array([4, 4, 4])) == pytest.approx(2 / 8)
    assert sign_flip_p_value(np.array([6, 6, -1])) == pytest.approx(4 / 8)


def test_holm_corrects_as_in_the_textbook():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_effect_sizes_of_the_approval_ratings():
    # Agresti's table: 86 turned to approval, 150 away from it, of 1,600 people.
    found = mcnemar_test(*answers(794, 150, 86, 570))
    assert found.cohens_g == pytest.approx(86 / 236 - 0.5)
    assert found.error_reduction == pytest.approx((656 - 720) / 656)
    assert np.isnan(found.cohens_d)


def test_the_effect_size_over_seeds_is_that_of_students_sleep_data():
    # Cohen's d of the paired differences is 1.2846 (mean 1.58 by a standard deviation of 1.23).
    gains = [12, 24, 13, 13, 0, 10, 18, 8, 46, 14]
    pairs = [answers(100, 0, gain, 200 - gain) for gain in gains]
    found = compare_over_seeds([a for a, _ in pairs], [b for _, b in pairs])
    assert found.cohens_d == pytest.approx(1.2846, abs=1e-4)


def test_a_loss_that_is_the_same_in_every_seed_is_infinite_downwards():
    a, b = answers(50, 5, 0, 45)
    assert compare_over_seeds([a, a], [b, b]).cohens_d == -np.inf
    assert compare_over_seeds([b, b], [a, a]).cohens_d == np.inf
    assert compare_over_seeds([a, a], [a, a]).cohens_d == 0
