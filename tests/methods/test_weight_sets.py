from __future__ import annotations

import numpy as np
import pytest
import torch

import fewlabels
from fewlabels import (
    FixMatch,
    InputError,
    JointAutoencoder,
    NetAndPatches,
    SelfTraining,
    SimCLR,
    Supervised,
    TwoStepAutoencoder,
)
from fewlabels.storage.errors import Interrupted, TrainingWarning
from fewlabels.training.kept import AVERAGE, BEST, LAST, KeptWeights

pytestmark = pytest.mark.usefixtures("narrow_net")


def fitted(few_labels, **settings):
    images, y, *_ = few_labels
    return Supervised(steps=24, random_state=0, validation_fraction=0.4, **settings).fit(images, y)


def probabilities(method, few_labels):
    return method.predict_proba(few_labels[2])


def test_without_an_average_the_last_weights_are_used(few_labels):
    method = fitted(few_labels)
    assert method.used_weights_ == LAST
    assert method.kept_weights_[LAST].step == 24
    assert set(method.kept_weights_) == {LAST, BEST}


@pytest.mark.parametrize("settings", [{}, {"preset": "notebook"}])
def test_shares_of_the_classes_are_taken_off_the_output_of_any_net(settings, few_labels):
    images, y, *_ = few_labels
    common = {"steps": 2, "random_state": 0, "validation_fraction": 0.0} | settings
    plain, adjusted = (Supervised(logit_adjustment=one, **common).fit(images, y) for one in (0.0, 1.0))
    found = [torch.from_numpy(probabilities(method, few_labels)).log() for method in (plain, adjusted)]
    counts = np.bincount(y[y >= 0], minlength=10)
    wanted = torch.log_softmax(found[0] - torch.from_numpy(np.log(counts / counts.sum())), 1)
    assert torch.allclose(found[1], wanted, atol=1e-4)


def test_an_average_is_used_and_the_last_weights_are_those_of_a_training_without_one(few_labels):
    averaged, plain = fitted(few_labels, ema_decay=0.9), fitted(few_labels)
    assert averaged.used_weights_ == AVERAGE
    assert not np.allclose(probabilities(averaged, few_labels), probabilities(plain, few_labels))
    last = averaged.with_weights(LAST)
    assert np.array_equal(probabilities(last, few_labels), probabilities(plain, few_labels))
    assert averaged.used_weights_ == AVERAGE


def test_the_best_weights_are_those_of_the_look_at_which_most_held_out_samples_were_right(few_labels):
    # A rate so high that the training goes astray at its end. The looks on the way are in the training's precision,
    # what is said of the weights in the end is not.
    method = fitted(few_labels, learning_rate=2.0, schedule="constant", final_weights=BEST, precision="float32")
    looks = [event for event in method.history_ if "validation_accuracy" in event]
    best = max(looks, key=lambda event: (event["validation_accuracy"], event["step"]))
    assert method.used_weights_ == BEST
    assert method.kept_weights_[BEST].step == best["step"]
    assert method.validation_accuracy_ == pytest.approx(best["validation_accuracy"])


def test_of_equally_good_looks_the_later_is_kept():
    kept = KeptWeights(torch.nn.Linear(1, 1))
    for step, accuracy in ((1, 0.5), (2, 0.75), (3, 0.75), (4, 0.5)):
        kept.look(step, {"validation_accuracy": accuracy})
    kept.look(5, {})
    assert kept.found[BEST]["step"] == 3


def test_a_teacher_is_the_average_and_the_nets_own_weights_are_kept(few_labels):
    images, y, test, _ = few_labels
    method = FixMatch(steps=20, random_state=0, teacher_decay=0.9).fit(images, y)
    assert method.used_weights_ == AVERAGE
    assert not np.allclose(method.predict_proba(test), method.with_weights(LAST).predict_proba(test))


def test_beside_a_teacher_no_second_average_takes_the_place_of_the_nets_own_weights(few_labels):
    images, y, test, _ = few_labels
    common = {"steps": 20, "random_state": 0, "teacher_decay": 0.9}
    plain, averaged = (FixMatch(ema_decay=decay, **common).fit(images, y) for decay in (0.0, 0.8))
    for name in (LAST, AVERAGE):
        found = [method.with_weights(name).predict_proba(test) for method in (plain, averaged)]
        assert np.array_equal(*found)


def test_an_average_that_equals_the_last_weights_is_kept_all_the_same(few_labels):
    images, y, *_ = few_labels
    # The average of a stage of one step is what that step has left.
    method = FixMatch(steps=2, warm_start=0.5, random_state=0, teacher_decay=0.9).fit(images, y)
    assert method.used_weights_ == AVERAGE
    assert set(method.kept_weights_) >= {LAST, AVERAGE}


def test_of_self_training_the_weights_of_the_net_that_is_used_are_kept(few_labels):
    images, y, test, _ = few_labels
    method = SelfTraining(steps=12, rounds=2, random_state=0).fit(images, y)
    assert np.array_equal(method.with_weights(LAST).predict_proba(test), method.predict_proba(test))
    # A student's training is three times as long as the teacher's.
    assert method.kept_weights_[LAST].step == 36


def test_a_saved_model_brings_all_its_weights_back(few_labels, tmp_path):
    method = fitted(few_labels, ema_decay=0.9)
    method.save(tmp_path / "model")
    for name in method.kept_weights_:
        loaded = fewlabels.load(tmp_path / "model", weights=name)
        assert loaded.used_weights_ == name
        expected = method.with_weights(name)
        assert np.array_equal(probabilities(loaded, few_labels), probabilities(expected, few_labels))
        sets = loaded.predict_set(few_labels[2], coverage=0.8)
        assert np.array_equal(sets, expected.predict_set(few_labels[2], coverage=0.8))
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "weights-last.safetensors"} <= files
    with pytest.raises(InputError, match="no weights 'lst' were kept; did you mean 'last'"):
        fewlabels.load(tmp_path / "model", weights="lst")


def test_an_average_that_is_not_kept_cannot_be_used(few_labels):
    with pytest.raises(InputError, match="give ema_decay"):
        fitted(few_labels, final_weights=AVERAGE)
    with pytest.raises(InputError, match="unknown final_weights 'newest'"):
        fitted(few_labels, final_weights="newest")


def test_weights_that_were_asked_for_and_not_kept_are_told_of(few_labels):
    images, y, *_ = few_labels
    with pytest.warns(TrainingWarning, match="no weights 'best-on-validation', as no sample was held out"):
        method = Supervised(steps=2, validation_fraction=0.0, final_weights=BEST).fit(images, y)
    assert method.used_weights_ == LAST
    assert any("has 'last' ones" in note for note in method.notes_)


def test_weights_and_order_vary_apart(few_labels):
    def start_and_end(**seeds):
        method = fitted(few_labels, **seeds)
        return method.history_[0]["loss"], probabilities(method, few_labels)

    base = start_and_end()
    same = start_and_end(weights_seed=0, order_seed=0)
    assert base[0] == same[0]
    assert np.array_equal(base[1], same[1])
    others = [start_and_end(weights_seed=1), start_and_end(order_seed=1), start_and_end(weights_seed=1, order_seed=1)]
    for one in (*others, base):
        assert sum(np.array_equal(one[1], other[1]) for other in (*others, base)) == 1


def test_two_methods_start_from_the_same_weights(few_labels, monkeypatch):
    from fewlabels.methods.session import Session

    images, y, *_ = few_labels
    starts = []
    new = Session.new_classifier

    def spy(session, **options):
        network = new(session, **options)
        starts.append(torch.cat([value.detach().flatten() for value in network.parameters()]))
        return network

    monkeypatch.setattr(Session, "new_classifier", spy)
    Supervised(steps=2, random_state=3).fit(images, y)
    FixMatch(steps=2, random_state=3).fit(images, y)
    FixMatch(steps=2, random_state=3, weights_seed=4).fit(images, y)
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.usefixtures("narrow_net")
@pytest.mark.parametrize("stopped_at", [(1, 14), (2, 20)])
def test_a_training_that_was_stopped_and_continued_keeps_the_same_weights(stopped_at, few_labels, tmp_path):
    images, y, *_ = few_labels

    def fit(**more):
        method = SelfTraining(steps=24, rounds=1, ema_decay=0.9, student_steps=1.0, random_state=0)
        return method.fit(images, y, **more)

    def stop(event):
        if (event["stage_number"], event["step"]) == stopped_at:
            raise KeyboardInterrupt

    whole = fit()
    with pytest.raises(Interrupted):
        fit(checkpoint=tmp_path / "kept", checkpoint_every=0, observer=stop)
    continued = fit(checkpoint=tmp_path / "kept", checkpoint_every=0)
    assert continued.kept_weights_.keys() == whole.kept_weights_.keys() == {LAST, BEST, AVERAGE}
    for name, expected in whole.kept_weights_.items():
        found = continued.kept_weights_[name]
        assert (found.step, found.validation_accuracy) == (expected.step, expected.validation_accuracy)
        assert all(torch.equal(value, expected.state[key]) for key, value in found.state.items())


@pytest.mark.parametrize("kind", [TwoStepAutoencoder, JointAutoencoder])
def test_an_autoencoders_teacher_is_kept_and_used_where_it_is_asked_for(kind, few_labels):
    images, y, test, _ = few_labels
    given = {"steps": 12, "teacher_decay": 0.8, "random_state": 0, "validation_fraction": 0.4}
    method = kind(**given).fit(images, y)
    assert method.used_weights_ == LAST
    average = kind(**given, final_weights=AVERAGE).fit(images, y)
    assert average.used_weights_ == AVERAGE
    assert not np.allclose(average.predict_proba(test), method.predict_proba(test))
    assert np.array_equal(average.predict_proba(test), method.with_weights(AVERAGE).predict_proba(test))


def test_a_method_stays_as_it_is_when_other_weights_are_asked_for(few_labels):
    method = fitted(few_labels, ema_decay=0.9)
    before, sets = probabilities(method, few_labels), method.predict_set(few_labels[2], coverage=0.8)
    last = method.with_weights(LAST)
    assert not np.array_equal(probabilities(last, few_labels), before)
    assert np.array_equal(probabilities(method, few_labels), before)
    assert np.array_equal(method.predict_set(few_labels[2], coverage=0.8), sets)


def test_held_out_images_are_measured_as_others_are_predicted():
    # Of noise, mirrored or not, a net that has learned next to nothing says something else.
    noise = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(120) % 2
    method = Supervised(steps=10, batch_size=16, validation_fraction=0.3, random_state=0).fit(noise, labels)
    assert method.mirrors_
    held_out = method.validation_rows_
    right = method.predict_proba(noise[held_out])[np.arange(len(held_out)), labels[held_out]]
    assert np.allclose(method.conformal_scores_, np.sort(1 - right), atol=1e-5)
    assert method.validation_accuracy_ == pytest.approx(method.score(noise[held_out], labels[held_out]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SimCLR, {"classifier_method": "mean-teacher", "pretraining_batch": 16}),
        (NetAndPatches, {"net_method": "uda", "centroids": 20, "patches": 500}),
    ],
)
def test_the_average_of_the_method_that_teaches_a_part_can_be_asked_for(kind, settings, few_labels):
    images, y, *_ = few_labels
    settings = settings | {"preset": "short", "final_weights": "average", "steps": 10, "batch_size": 16}
    assert kind(**settings, random_state=0).fit(images, y).used_weights_ == AVERAGE


@pytest.mark.parametrize("settings", [{}, {"classifier_method": "supervised"}, {"classifier_method": "fix-match"}])
def test_an_average_that_no_part_keeps_is_refused(settings):
    with pytest.raises(InputError, match="needs an average; give ema_decay"):
        SimCLR(final_weights="average", **settings).check_settings()
    with pytest.raises(InputError, match="needs an average; give ema_decay"):
        NetAndPatches(final_weights="average").check_settings()
