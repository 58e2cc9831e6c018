"""Methods that pretrain an encoder on views: their losses by hand, and their two steps."""

import warnings

import numpy as np
import pytest
import torch

from fewlabels import InputError, TrainingWarning, make_method
from fewlabels.methods import (
    MaskedAutoencoder,
    SelfTraining,
    SimCLR,
    TwoStepAutoencoder,
    VICReg,
    pretraining,
    session,
)
from fewlabels.methods.inner import inner_method
from fewlabels.methods.pretraining import Projected
from fewlabels.methods.simclr import contrast
from fewlabels.methods.vicreg import covariance, missing_variance
from small_backbones import colors

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_simclrs_loss_is_the_papers():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 4, generator=generator)
    z = torch.cat([first, second])
    z = z / z.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(6):
        j = (i + 3) % 6
        others = [torch.exp(z[i] @ z[k] / 0.5) for k in range(6) if k != i]
        total -= torch.log(torch.exp(z[i] @ z[j] / 0.5) / sum(others))
    assert torch.isclose(contrast(first, second, 0.5), total / 6)


def test_equal_views_of_different_samples_are_easily_told():
    views = torch.eye(4)
    assert contrast(views, views, 0.05) < 1e-6 < contrast(views, views.roll(1, 0), 0.05)


def test_vicregs_terms_are_the_papers():
    projections = torch.tensor([[0.0, 1.0], [0.4, 3.0], [0.2, 2.0]])
    spreads = [np.sqrt(np.var([0, 0.4, 0.2], ddof=1) + 1e-4), np.sqrt(np.var([1, 3, 2], ddof=1) + 1e-4)]
    by_hand = sum(max(0, 1 - spread) for spread in spreads) / 2
    assert missing_variance(projections).item() == pytest.approx(by_hand, rel=1e-5)
    shared = np.cov(projections.numpy().T)[0, 1]
    assert covariance(projections).item() == pytest.approx(2 * shared**2 / 2, rel=1e-5)
    other = projections + torch.tensor([1.0, 0.0])
    losses = VICReg().view_loss(projections, other)
    assert losses["invariance"].item() == pytest.approx(25 * 0.5)
    assert losses["variance"].item() == pytest.approx(25 * 2 * by_hand, rel=1e-5)
    assert losses["covariance"].item() == pytest.approx(2 * shared**2, rel=1e-5)


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_the_classifier_starts_from_the_pretrained_encoder(method, color_images):
    X, y = color_images
    settings = {"pretraining_steps": 6, "pretraining_batch": 32, "random_state": 0, "precision": "float32"}
    fitted = method(steps=1, learning_rate=1e-9, freeze_encoder=True, **settings).fit(X, y, unlabeled=X)
    assert fitted.stage_steps_ == {"encoder": 6, "classifier": 1}
    # Two views of each sample of a batch go forward and backward.
    assert fitted.gradient_images_ == 6 * 2 * 32 + 128
    shorter = method(steps=1, learning_rate=1e-9, freeze_encoder=True, **settings | {"pretraining_steps": 1})
    shorter.fit(X, y, unlabeled=X)
    name = "encoder.stages.0.first.weight"
    assert not torch.equal(fitted.network_.state_dict()[name], shorter.network_.state_dict()[name])
    assert fitted.history_[0]["stage"] == "encoder"


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_a_batch_holds_no_more_samples_than_there_are(method, color_images):
    X, y = color_images
    # As many as are not held out, and the pool: copies of a sample would count as other samples.
    fitted = method(steps=1, pretraining_steps=3, validation_fraction=0.0, random_state=0).fit(
        X[:20], y[:20], unlabeled=X[20:]
    )
    assert fitted.gradient_images_ == 3 * 2 * 40 + 128


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_a_frozen_encoder_stays_as_pretraining_left_it(method, color_images):
    X, y = color_images
    settings = {"pretraining_steps": 2, "pretraining_batch": 16, "random_state": 0}
    states = [
        method(steps=steps, freeze_encoder=True, **settings).fit(X, y, unlabeled=X).network_.encoder.state_dict()
        for steps in (1, 5)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    moved = method(steps=5, **settings).fit(X, y, unlabeled=X).network_.encoder.state_dict()
    assert any(not torch.equal(states[0][key], moved[key]) for key in moved)


@pytest.mark.usefixtures("whole_net")
def test_adam_teaches_an_encoder_something(digits):
    images, labels = digits
    method = TwoStepAutoencoder(optimizer="adam", steps=60, random_state=0)
    method.fit(images[:100], labels[:100], unlabeled=images[100:800])
    assert method.score(images[800:], labels[800:]) > 0.5


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_a_pretrained_net_is_trained_further_and_not_replaced(method, color_images):
    X, y = color_images
    settings = {"pretraining_steps": 20, "pretraining_batch": 32, "steps": 1, "random_state": 0}
    before = colors().blocks[0][0].weight
    after = method(net=colors(), freeze=False, **settings).fit(X, y, unlabeled=X).network_.encoder.body
    assert 0 < (after.blocks[0][0].weight - before).norm() < 0.02 * before.norm()


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_a_rate_that_would_not_count_for_a_pretrained_net_is_refused(method, color_images):
    with pytest.raises(InputError, match=r"encoder_rate=0\.1 does not count .* give backbone_rate"):
        method(net=colors(), freeze=False, encoder_rate=0.1).fit(*color_images)
    method(net=colors(), freeze=False).check_settings()
    method(net=colors(), encoder_rate=0.1).check_settings()


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_what_has_no_encoder_to_pretrain_spends_nothing_on_it(method, color_images):
    X, y = color_images
    vectors = X.reshape(len(X), -1)[:, :50].astype(np.float32)
    settings = {"net": "linear", "budget": "2k images", "batch_size": 16, "random_state": 0}
    with pytest.warns(TrainingWarning, match="net='linear' has no encoder to pretrain: all of the training went"):
        fitted = method(**settings).fit(vectors, y, unlabeled=vectors)
    assert fitted.stage_steps_ == {"classifier": 2000 // 16}


def test_a_decoder_that_learns_alone_is_told_of(color_images):
    X, y = color_images
    vectors = X.reshape(len(X), -1)[:, :50].astype(np.float32)
    with pytest.warns(TrainingWarning, match="no encoder to pretrain.* teaches the decoder alone"):
        MaskedAutoencoder(net="linear", steps=2, random_state=0).fit(vectors, y, unlabeled=vectors)


def test_contrast_falls_while_the_encoder_learns(digits):
    images, labels = digits
    method = SimCLR(steps=5, pretraining_steps=60, pretraining_batch=64, random_state=0)
    method.fit(images[:100], labels[:100], unlabeled=images[100:])
    losses = [event["loss"] for event in method.history_ if event["stage"] == "encoder"]
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.5


def test_a_masked_autoencoder_is_judged_by_what_was_hidden(color_images):
    method = MaskedAutoencoder(steps=4, random_state=0)
    assert (method.mask, method.masked_weight, method.consistency_weight) == (0.6, 1.0, 0.0)
    assert isinstance(method, TwoStepAutoencoder)
    X, y = color_images
    assert set(method.fit(X, y, unlabeled=X).stage_steps_) == {"autoencoder", "classifier"}


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_rate": 0},
        {"pretraining_rate": 0},
        {"pretraining_scale": 0.4},
        {"pretraining_batch": 1},
        {"projection_size": 0},
        {"pretraining_steps": 0},
        {"temperature": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        SimCLR(**settings).fit(*color_images)


def test_two_lengths_are_refused(color_images):
    with pytest.raises(InputError, match="give one of them"):
        VICReg(pretraining_steps=3, pretraining_epochs=1).fit(*color_images)


def test_the_rates_of_both_steps_are_those_that_were_asked_for(color_images, monkeypatch):
    told, train = {}, session.train

    def watched(*arguments, stage, recipe, rate_factors, **rest):
        told[stage] = recipe.learning_rate, rate_factors
        train(*arguments, stage=stage, recipe=recipe, rate_factors=rate_factors, **rest)

    monkeypatch.setattr(session, "train", watched)
    X, y = color_images
    settings = {"steps": 1, "pretraining_steps": 1, "pretraining_batch": 16, "random_state": 0}
    SimCLR(pretraining_rate=0.03, learning_rate=0.2, encoder_rate=0.25, **settings).fit(X, y, unlabeled=X)
    assert told == {"encoder": (0.03, {}), "classifier": (0.2, {"encoder.": 0.25})}


GOING_ON = ("self-training", "noisy-student", "uda", "vat", "free-match", "re-mix-match", "sim-match")


@pytest.mark.parametrize("name", GOING_ON)
def test_another_method_goes_on_from_the_pretrained_encoder_at_its_rate(name, color_images):
    X, y = color_images
    shared = {"steps": 6, "pretraining_steps": 6, "batch_size": 32, "pretraining_batch": 32, "random_state": 0}
    shared["precision"] = "float32"
    left = dict(SimCLR(freeze_encoder=True, **shared).fit(X, y, unlabeled=X).network_.encoder.named_parameters())
    with warnings.catch_warnings():
        # Of so short a training, that nothing was sure enough.
        warnings.simplefilter("ignore", TrainingWarning)
        still, moved = (
            SimCLR(classifier_method=name, encoder_rate=rate, **shared).fit(X, y, unlabeled=X).network_
            for rate in (1e-7, 0.5)
        )
    for parameter, value in still.encoder.named_parameters():
        assert torch.allclose(value, left[parameter], atol=1e-3)
    assert any(not torch.allclose(value, left[name], atol=1e-2) for name, value in moved.encoder.named_parameters())


@pytest.mark.parametrize("method", [SimCLR, VICReg])
def test_for_minutes_the_pool_is_learned_from_by_its_classes_too(method, color_images):
    X, y = color_images
    fitted = method(preset="short", steps=10, pretraining_steps=4, pretraining_batch=16, guard=True, random_state=0)
    fitted.fit(X, y, unlabeled=X)
    # The guard falls back on what the labels alone made of the encoder, and trains no net of its own.
    assert fitted.stage_steps_ == {"encoder": 4, "labeled samples alone": 2, "classifier": 8}
    assert fitted.guard_["supervised_accuracy"] is not None
    assert fitted.settings_["classifier_method"] == "free-match"
    assert fitted.settings_["classifier.warm_start"] == 0.2
    assert fitted.gradient_images_ == 4 * 2 * 16 + 2 * 128 + 8 * 3 * 128


@pytest.mark.parametrize("name", GOING_ON)
def test_another_method_leaves_a_frozen_encoder_as_it_is(name, color_images):
    X, y = color_images
    shared = {"pretraining_steps": 4, "pretraining_batch": 16, "batch_size": 32, "random_state": 0}
    shared["freeze_encoder"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        alone, gone_on = (
            SimCLR(classifier_method=further, steps=steps, **shared).fit(X, y, unlabeled=X).network_
            for further, steps in ((None, 1), (name, 5))
        )
    before, after = alone.encoder.state_dict(), gone_on.encoder.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("net", "side", "scale", "seen"),
    [
        ("fast", 16, None, 12),
        ("fast", 14, None, 14),
        ("fast", 16, 0.5, 8),
        ("fast", 16, 1.0, 16),
        ("resnet-18", 16, None, 12),
        ("notebook", 28, None, 28),
    ],
)
def test_views_to_pretrain_on_are_smaller_where_the_net_takes_any_size(net, side, scale, seen, monkeypatch):
    generator = np.random.default_rng(0)
    X, y = generator.integers(0, 256, (12, side, side, 3), dtype=np.uint8), np.arange(12) % 2
    sides, forward = [], Projected.forward

    def watched(nets, inputs):
        sides.append(inputs.shape[2:])
        return forward(nets, inputs)

    monkeypatch.setattr(Projected, "forward", watched)
    SimCLR(net=net, steps=1, pretraining_steps=1, pretraining_scale=scale, random_state=0).fit(X, y, unlabeled=X)
    assert sides == [(seen, seen)]


def test_a_scale_is_refused_for_a_net_that_takes_one_size(color_images):
    settings = {"pretraining_steps": 1, "steps": 1, "pretraining_batch": 16, "random_state": 0}
    with pytest.raises(InputError, match=r"pretraining_scale=0\.5 does not count .* leave it away"):
        SimCLR(net=colors(), freeze=False, pretraining_scale=0.5, **settings).fit(*color_images)
    SimCLR(net=colors(), freeze=False, pretraining_scale=1, **settings).fit(*color_images)


def test_the_labels_alone_can_be_asked_for_whatever_the_preset(color_images):
    X, y = color_images
    settings = {"preset": "auto", "steps": 2, "pretraining_steps": 2, "pretraining_batch": 16, "random_state": 0}
    alone = SimCLR(classifier_method="supervised", **settings).fit(X, y, unlabeled=X)
    assert alone.stage_steps_ == {"encoder": 2, "classifier": 2}


def test_a_share_of_a_budget_is_for_the_encoder(color_images):
    X, y = color_images
    method = SimCLR(pretraining_share=0.8, budget="5k images", pretraining_batch=50, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        steps = method.fit(X, y, unlabeled=X).stage_steps_
    assert steps == {"encoder": 4_000 // 100, "classifier": 1_000 // 128}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"classifier_method": "freematch"},
            "no method that trains a pretrained encoder further; did you mean",
        ),
        ({"classifier_method": "kmeans-features"}, r"further \(known: supervised, self-training, "),
        ({"pretraining_share": 1.0}, "pretraining_share="),
        ({"preset": "short", "ensemble_size": 0}, "ensemble_size=0"),
        ({"ensemble_size": 2}, "ensemble_size=2 counts only with a classifier_method that learns from the pool"),
    ],
)
def test_what_cannot_go_on_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SimCLR(**settings).check_settings()


def test_the_rate_of_the_preset_is_no_other_value_for_a_pretrained_net(color_images):
    method = SimCLR(net=colors(), freeze=False, preset="short")
    method.check_settings()
    with pytest.raises(InputError, match=r"encoder_rate=0\.2 does not count"):
        method.set_params(encoder_rate=0.2).check_settings()


def test_a_student_learns_the_mean_of_what_an_ensemble_says_of_the_pool(color_images, monkeypatch):
    X, y = color_images
    said, taught = [], []
    label, batches = SelfTraining._label, SelfTraining._batches

    def heard(method, *given):
        said.append(label(method, *given))
        return said[-1]

    def seen(method, session, guesses, probabilities):
        taught.append((guesses, probabilities))
        return batches(method, session, guesses, probabilities)

    monkeypatch.setattr(SelfTraining, "_label", heard)
    monkeypatch.setattr(SelfTraining, "_batches", seen)
    settings = {"pretraining_steps": 2, "pretraining_batch": 16, "batch_size": 32, "steps": 20, "random_state": 0}
    fitted = SimCLR(preset="short", ensemble_size=3, **settings).fit(X, y, unlabeled=X)
    (one, _), (other, _), (third, _) = said
    assert not np.allclose(one, other, atol=0.01)
    ((guesses, probabilities),) = taught
    np.testing.assert_allclose(probabilities, (one + other + third) / 3, atol=1e-6)
    assert np.array_equal(guesses, probabilities.argmax(1))
    # The student begins with the encoder, as the members do, and at once with what these say.
    assert list(fitted.stage_steps_)[-1] == "student"
    assert len(fitted.stage_steps_) == 1 + 3 * 2 + 1
    assert (fitted.predict(X) == fitted.classes_[guesses]).mean() > 0.8


def test_an_ensemble_and_its_student_share_what_a_budget_leaves(color_images):
    X, y = color_images
    settings = {"preset": "short", "batch_size": 16, "pretraining_batch": 16, "random_state": 0}
    fitted = SimCLR(ensemble_size=3, budget="6k images", **settings).fit(X, y, unlabeled=X)
    steps = fitted.stage_steps_
    names = [f"member {number}" for number in (1, 2, 3)]
    members = [steps[f"{name}: labeled samples alone"] * 16 + steps[f"{name}: classifier"] * 48 for name in names]
    assert 5_800 < fitted.gradient_images_ <= 6_000
    assert min(members) > 0.85 * max(members)
    # And what was no whole step of the members.
    assert 0.9 * members[0] / 2 < steps["student"] * 16 < members[0] / 2 + 3 * 48


@pytest.mark.parametrize(
    ("budget", "steps", "size"), [("500 images", None, 1), ("1k images", None, 2), ("450 images", 2, 3)]
)
def test_an_ensemble_is_as_large_as_a_budget_has_room_for(budget, steps, size, color_images, monkeypatch):
    monkeypatch.setattr(pretraining, "_MEMBER", 100)
    X, y = color_images
    settings = {"pretraining_steps": steps, "batch_size": 8, "pretraining_batch": 8, "random_state": 0}
    method = SimCLR(preset="short", budget=budget, **settings)
    with warnings.catch_warnings():
        # So few steps are told of.
        warnings.simplefilter("ignore", TrainingWarning)
        method.fit(X, y, unlabeled=X)
    assert method.settings_["ensemble_size"] == size
    assert len(method.stage_steps_) == (3 if size == 1 else 1 + size * 2 + 1)
    # What was asked for stays as it was.
    assert method.ensemble_size == 1


def test_without_a_pool_there_is_nothing_for_an_ensemble_to_say(color_images):
    X, y = color_images
    settings = {"pretraining_steps": 2, "pretraining_batch": 8, "steps": 4, "random_state": 0}
    fitted = SimCLR(classifier_method="fix-match", ensemble_size=2, **settings).fit(X[:20], y[:20])
    assert "student" not in fitted.stage_steps_


def test_features_without_an_encoder_learn_by_the_method_alone(color_images):
    X, y = color_images
    vectors = X.reshape(len(X), -1)[:, :50].astype(np.float32)
    with pytest.warns(TrainingWarning, match="no encoder to pretrain"):
        fitted = SimCLR(net="linear", preset="short", steps=10, random_state=0).fit(vectors, y, unlabeled=vectors)
    assert fitted.stage_steps_ == {"labeled samples alone": 2, "classifier": 8}


@pytest.mark.parametrize("name", ["noisy-student", "re-mix-match"])
def test_a_method_that_goes_on_from_a_pretrained_net_keeps_a_default_of_its_own(name):
    settings = {"net": colors(), "freeze": False, "classifier_method": name}
    further = inner_method(SimCLR(**settings)._resolved(), name)
    alone = make_method(name, net=colors(), freeze=False)._resolved()
    for setting in ("view", "batch_size", "learning_rate", "weight_decay", "optimizer"):
        assert getattr(further, setting) == getattr(alone, setting)
    assert further.view == "strong"
    # What was asked for is passed on.
    assert inner_method(SimCLR(**settings, view="weak")._resolved(), name).view == "weak"


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("sim-clr", {}, 2),
        ("sim-clr", {"classifier_method": "self-training"}, 4),
        ("sim-clr", {"classifier_method": "uda", "preset": "short", "guard": True}, 3),
        ("vicreg", {"classifier_method": "fix-match", "guard": True}, 3),
        ("vicreg", {"classifier_method": "uda", "preset": "short", "assess_pool": True}, 5),
        ("net-and-patches", {"net_method": "sim-clr", "preset": "short", "centroids": 20, "patches": 500}, 6),
        ("sim-clr", {"preset": "short", "ensemble_size": 2}, 6),
    ],
)
def test_whoever_watches_is_told_of_all_stages_from_the_start(name, settings, count, few_labels):
    X, y, *_ = few_labels
    told = []
    method = make_method(name, steps=6, batch_size=16, random_state=0, **settings)
    method.fit(X, y, observer=told.append)
    assert len(method.stage_steps_) == count
    assert {event["stage_count"] for event in told} == {count}


@pytest.mark.parametrize("kind", [SimCLR, TwoStepAutoencoder])
@pytest.mark.parametrize(("setting", "budget"), [("steps", "300 images"), ("epochs", "300 images"), ("steps", "0.01s")])
def test_a_first_step_that_the_budget_has_no_room_for_is_told_of_before_it_is_taken(kind, setting, budget, few_labels):
    X, y, *_ = few_labels
    asked = {f"pretraining_{setting}": 12}
    method = kind(budget=budget, batch_size=32, random_state=0, **asked)
    begun = []
    told = f"budget='{budget}' has no room for pretraining_{setting}=12, which takes "
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        method.fit(X, y, observer=lambda event: begun.append(len(found)))
    assert [str(one.message).startswith(told) for one in found if "budget" in str(one.message)] == [True]
    assert begun[0] == 1
    # What was found out has left no trace in what is learned.
    if budget != "0.01s":
        steps = method.stage_steps_["classifier"]
        alone = kind(steps=steps, batch_size=32, random_state=0, **asked).fit(X, y)
        assert np.array_equal(alone.predict_proba(X), method.predict_proba(X))


def test_a_first_step_that_the_budget_has_room_for_is_not_warned_of(few_labels):
    X, y, *_ = few_labels
    method = SimCLR(budget="2k images", pretraining_steps=5, pretraining_batch=20, batch_size=32, random_state=0)
    assert method.fit(X, y).stage_steps_ == {"encoder": 5, "classifier": 56}
    assert not any("has no room" in note for note in method.notes_)
