"""Pools as they are: what is estimated of them, and that methods heed it."""

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels import InputError, Supervised, make_method
from fewlabels.methods.findings import findings
from fewlabels.methods.flexmatch import ClassCounts
from fewlabels.methods.online import AlignedGuesses
from fewlabels.methods.pool_quality import (
    Half,
    agreed_prior,
    compared,
    estimated_prior,
    inside_share,
    judged,
    settled,
)
from fewlabels.training.calibration import best_scale_and_biases

pytestmark = pytest.mark.usefixtures("narrow_net")


def clusters(generator, counts, distance=6.0):
    """Return points around the corners of a triangle, so many around each."""
    corners = distance * np.array([[0.0, 0], [1, 0], [0.5, 1]])
    return np.concatenate([corners[i] + generator.normal(size=(n, 2)) for i, n in enumerate(counts)]).astype(np.float32)


def open_set(pool_counts=(900, 300, 400)):
    """Return 30 labeled points of two classes each, and a pool with a third one that has no label."""
    generator = np.random.default_rng(0)
    return clusters(generator, (30, 30, 0)), np.repeat([0, 1], 30), clusters(generator, pool_counts)


def test_the_prior_of_a_shifted_pool_is_found():
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.85
    x = generator.normal(np.where(truth, 1.0, -1.0))
    # The posterior of a classifier that learned from equally many of both.
    second = 1 / (1 + np.exp(-2 * x))
    found = estimated_prior(np.stack([1 - second, second], 1), np.array([0.5, 0.5]))
    assert found[1] == pytest.approx(0.85, abs=0.015)
    assert second.mean() < 0.8  # the mean alone is far off


@pytest.mark.parametrize(("outside", "least", "most"), [(0, 0.95, 1.0), (1000, 0.48, 0.6), (3000, 0.23, 0.33)])
def test_the_share_that_belongs_is_bounded_from_above_and_not_far_off(outside, least, most):
    generator = np.random.default_rng(1)
    positive = generator.normal(0, 1, 300)
    pool = np.concatenate([generator.normal(0, 1, 1000), generator.normal(-3, 1, outside)])
    assert least < inside_share(positive, pool) <= most


def test_the_share_is_of_positive_samples_whose_classes_come_as_often_as_in_the_pool():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 100])
    # Scores of the second class are higher, and the pool holds it alone: a half of it.
    positive = generator.normal(3.0 * labels, 1)
    pool = np.concatenate([generator.normal(3, 1, 2000), generator.normal(-6, 1, 2000)])
    weights = np.array([1e-12, 1.0])[labels]
    assert inside_share(positive, pool, weights) == pytest.approx(0.5, abs=0.1)
    assert inside_share(positive, pool, np.full(500, 3.0)) == pytest.approx(inside_share(positive, pool))


def test_estimates_count_by_as_much_as_they_agree_on():
    even = np.full(3, 1 / 3)
    shifted = np.array([0.6, 0.3, 0.1])
    assert agreed_prior([shifted, shifted], even) == pytest.approx(shifted)
    assert agreed_prior([shifted, 2 * even - shifted], even) == pytest.approx(even)
    assert agreed_prior([even, shifted], even) == pytest.approx(even)


def half(generator, leaning, pool_labels, count=50, classes=5):
    """Return what a weak net that leans to some classes says: logits with 1 added at the class, noise and leaning."""

    def outputs(labels):
        noise = generator.normal(0, 1, (len(labels), classes))
        return np.eye(classes)[labels] + noise + leaning

    labels = np.repeat(np.arange(classes), count)
    logits, of_pool = outputs(labels), outputs(pool_labels)
    scale, biases = best_scale_and_biases(logits, labels)
    likely, likely_of_pool = (
        np.exp(part - part.max(1, keepdims=True)) for part in (scale * logits + biases, scale * of_pool + biases)
    )
    zeros = np.zeros(len(labels)), np.zeros(len(pool_labels))
    shares = (part / part.sum(1, keepdims=True) for part in (likely, likely_of_pool))
    return Half(labels, *zeros, *shares)


@pytest.mark.parametrize("shares", [[0.2] * 5, [0.4, 0.3, 0.15, 0.1, 0.05]])
def test_nets_that_lean_to_classes_make_no_pool_lean_to_them(shares):
    generator = np.random.default_rng(0)
    pool_labels = generator.choice(5, 5000, p=shares)
    halves = [half(generator, np.array([1.5, 0, 0, -1, 0])[::way], pool_labels) for way in (1, -1)]
    found = settled(halves, np.full(5, 0.2))
    assert found.prior == pytest.approx(shares, abs=0.08)
    assert found.inside_share > 0.95


def test_scale_and_biases_are_those_of_most_likely_labels():
    generator = np.random.default_rng(0)
    labels = generator.choice(3, 20_000, p=[0.2, 0.5, 0.3])
    logits = np.log([0.2, 0.5, 0.3]) + np.eye(3)[labels] + generator.normal(0, 1, (20_000, 3))
    # What an ideal net says of such samples, then bent: three times as sure, and leaning.
    bent = 3 * logits + np.array([2.0, 0.0, -1.0])
    scale, biases = best_scale_and_biases(bent, labels)
    assert scale == pytest.approx(1 / 3, rel=0.05)
    assert biases - biases[1] == pytest.approx([-2 / 3, 0, 1 / 3], abs=0.06)
    # One label is no proof that there are no others: b = 1 / (1 + exp(2 b)) by hand.
    found = best_scale_and_biases(np.zeros((1, 2)), np.array([0]))
    assert found[1] == pytest.approx([0.3374, -0.3374], abs=1e-3)


def test_what_sets_positive_samples_apart_from_the_pool_is_found():
    generator = np.random.default_rng(0)
    positive = generator.normal(0, 1, (100, 3))
    pool = generator.normal(0, 1, (1000, 3))
    pool[500:, 1] += 4
    of_positive, of_pool = compared(positive, pool, generator)
    assert of_pool[:500].mean() > of_pool[500:].mean() + 2
    assert abs(of_positive.mean() - of_pool[:500].mean()) < 0.5


@pytest.mark.parametrize("name", ["self-training", "fix-match", "supervised"])
def test_an_open_pool_is_seen_through(name):
    X, y, pool = open_set()
    method = make_method(name, assess_pool=True, steps=60, random_state=1).fit(X, y, unlabeled=pool)
    assert method.pool_inside_share_ == pytest.approx(0.75, abs=0.12)
    assert method.pool_prior_ == pytest.approx([0.75, 0.25], abs=0.08)
    assert (method.pool_belongs_[:1200] >= 0.5).mean() > 0.75
    assert (method.pool_belongs_[1200:] >= 0.5).mean() < 0.1


def test_labels_that_count_among_the_pool_do_not_tell_what_it_is_made_of():
    X, y, pool = open_set((60, 60, 480))
    settings = {"assess_pool": True, "steps": 60, "random_state": 0}
    alone = make_method("fix-match", **settings).fit(X, y, unlabeled=pool)
    together = make_method("fix-match", labeled_in_pool=True, **settings).fit(X, y, unlabeled=pool)
    assert together.pool_inside_share_ == pytest.approx(alone.pool_inside_share_, abs=0.05)
    assert len(together.pool_belongs_) == len(pool)
    assert np.abs(together.pool_belongs_ - alone.pool_belongs_).mean() < 0.05


def test_a_pool_of_the_classes_alone_is_kept():
    X, y, pool = open_set((900, 300, 0))
    method = make_method("fix-match", assess_pool=True, steps=60, random_state=0).fit(X, y, unlabeled=pool)
    assert method.pool_inside_share_ > 0.9
    assert (method.pool_belongs_ >= 0.5).mean() > 0.9


def test_what_does_not_belong_is_not_learned_from():
    X, y, pool = open_set()
    taken = make_method("self-training", assess_pool=True, steps=60, random_state=0).fit(X, y, unlabeled=pool)
    outside = taken.pool_belongs_ < 0.5
    assert outside.sum() > 200
    for labels in taken.round_pseudo_labels_:
        assert (labels[outside] == -1).all()
        assert (labels[~outside] >= 0).mean() > 0.4

    seen = []
    online = make_method("fix-match", assess_pool=True, steps=60, random_state=0)
    kind = type(online)

    class Watched(kind):
        def loss(self, nets, batch):
            if batch.unlabeled_rows is not None:
                seen.append(batch.unlabeled_rows.numpy())
            return super().loss(nets, batch)

    method = Watched(**online.get_params()).fit(X, y, unlabeled=pool)
    assert (method.pool_belongs_[np.concatenate(seen)] >= 0.5).all()


def test_that_nothing_of_the_pool_was_learned_from_is_told():
    X, y, pool = open_set()
    method = make_method("supervised", assess_pool=True, steps=4, random_state=0).fit(X, y, unlabeled=pool)
    assert any(sentence.endswith("belongs to the classes; none was learned from") for sentence in findings(method))
    settings = {"assess_pool": True, "steps": 4, "pretraining_steps": 4, "random_state": 0}
    method = make_method("two-step-autoencoder", **settings).fit(X, y, unlabeled=pool)
    told = [
        sentence for sentence in findings(method) if "belongs to the classes; pretraining took all of it" in sentence
    ]
    assert len(told) == 1


def test_a_look_at_the_pool_is_short_and_warned_of_by_no_one(recwarn):
    X, y, pool = open_set()
    method = make_method("supervised", assess_pool=True, budget="20k images", random_state=0)
    method.fit(X, y, unlabeled=pool)
    assert max(method.stage_steps_["pool, half 1"], method.stage_steps_["pool, half 2"]) < 100
    assert method.stage_steps_["classifier"] >= 100
    assert not [one for one in recwarn if "budget=" in str(one.message)]
    assert method.notes_ == []


def test_one_label_a_class_is_too_few_to_assess_a_pool():
    X, y, pool = open_set()
    with pytest.raises(InputError, match="two labeled samples of each class"):
        make_method("fix-match", assess_pool=True, steps=5).fit(X[[0, 30]], y[[0, 30]], unlabeled=pool)


@pytest.mark.parametrize(
    ("name", "where"), [("soft-match", "target"), ("re-mix-match", "given"), ("sim-match", "prior")]
)
def test_alignment_takes_the_estimated_classes(name, where):
    X, y, pool = open_set()
    found = []
    kind = type(make_method(name))

    class Watched(kind):
        def loss(self, nets, batch):
            found.append(getattr(self._state, where))
            return super().loss(nets, batch)

    Watched(steps=4, random_state=0).fit(X, y, unlabeled=pool)
    assert torch.allclose(found[-1], torch.tensor([0.5, 0.5]))
    method = Watched(steps=4, assess_pool=True, random_state=0).fit(X, y, unlabeled=pool)
    assert torch.allclose(found[-1].double(), torch.from_numpy(method.pool_prior_), atol=1e-6)


def test_pool_samples_that_are_never_drawn_are_not_counted_as_unsure():
    counts = ClassCounts(6, 2, torch.device("cpu"), np.array([0, 1, 2]))
    assert counts.counts[:3].tolist() == [0, 0, 3]
    counts.update(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([True, True]))
    assert counts.counts[:3].tolist() == [1, 1, 1]
    assert counts.status.tolist() == [1, 1]


def test_aligned_guesses_are_the_teachers_times_target_over_seen():
    teacher = nn.Identity()
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([0.3, 0.7])
    guesses = AlignedGuesses(target).of(teacher)(logits).softmax(1)
    found = logits.softmax(1)
    seen = 0.99 * 0.5 + 0.01 * found.mean(0)
    by_hand = found * target / seen
    assert torch.allclose(guesses, by_hand / by_hand.sum(1, keepdim=True))


def test_guesses_are_aligned_in_training_alone():
    X, y, pool = open_set()
    settings = {"steps": 20, "threshold": 0.0, "random_state": 0}
    plain = make_method("fix-match", **settings).fit(X, y, unlabeled=pool)
    aligned = make_method("fix-match", align_guesses=True, **settings).fit(X, y, unlabeled=pool)
    assert not np.array_equal(plain.predict_proba(pool), aligned.predict_proba(pool))
    assert aligned._alignment is None


def test_logit_adjustment_takes_the_labels_shares_off():
    generator = np.random.default_rng(0)
    X, y = clusters(generator, (90, 10, 0), distance=2.0), np.repeat([0, 1], (90, 10))
    settings = {"steps": 20, "validation_fraction": 0.0, "random_state": 0}
    plain = make_method("supervised", **settings).fit(X, y)
    moved = make_method("supervised", logit_adjustment=1.0, **settings).fit(X, y)

    def odds(method):
        probabilities = method.predict_proba(X)
        return np.log(probabilities[:, 1] / probabilities[:, 0])

    assert np.allclose(odds(moved) - odds(plain), np.log(0.9 / 0.1), atol=1e-6)
    with pytest.raises(InputError, match="logit_adjustment="):
        make_method("supervised", logit_adjustment=-1.0).fit(X, y)


def test_a_pool_of_one_sample_is_learned_from(few_labels):
    X, y, *_ = few_labels
    method = Supervised(assess_pool=True, steps=2, random_state=0).fit(X[:60], y[:60], unlabeled=X[60:61])
    assert len(method.pool_belongs_) == 1


def test_the_share_that_was_learned_from_is_that_of_what_was_drawn():
    draws = np.random.default_rng(0)
    belongs, members = judged(draws.normal(-5, 1, 1000), 0.5)
    assert (belongs < 0.5).all()
    method = make_method("uda")
    facts = {"classes_": [0], "pool_belongs_": belongs, "pool_inside_share_": 0.1, "pool_prior_": np.array([1.0])}
    vars(method).update(facts)
    told = findings(method)
    assert f"{members.mean():.0%} was learned from" in told[0]
    assert members.sum() == 20


def test_guesses_of_any_method_are_aligned_to_the_estimated_classes():
    X, y, pool = open_set()
    found = []

    class Watched(type(make_method("fix-match"))):
        def loss(self, nets, batch):
            found.append(self._alignment._target)
            return super().loss(nets, batch)

    settings = {"align_guesses": True, "assess_pool": True, "steps": 4, "random_state": 0}
    method = Watched(**settings).fit(X, y, unlabeled=pool)
    assert torch.allclose(found[-1].double(), torch.from_numpy(method.pool_prior_), atol=1e-6)
    assert abs(method.pool_prior_[0] - 0.5) > 0.1


def test_flexmatch_waits_for_no_guess_of_what_belongs_to_no_class():
    X, y, pool = open_set()
    found = []

    class Watched(type(make_method("flex-match"))):
        def loss(self, nets, batch):
            losses = super().loss(nets, batch)
            found.append(self._state.counts.clone())
            return losses

    method = Watched(assess_pool=True, steps=4, random_state=0).fit(X, y, unlabeled=pool)
    never = int((method.pool_belongs_ < 0.5).sum())
    assert never > 100
    assert [int(counts[-1]) for counts in found] == [never] * 4
