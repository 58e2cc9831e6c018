from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax

import fewlabels
from fewlabels import InputError, SelfTraining, TrainingWarning, make_method
from fewlabels.methods import self_training, session, spending
from fewlabels.methods.self_training import top_of_each_class
from fewlabels.methods.supervised import labeled_loss
from fewlabels.training.batches import Batch

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_the_top_share_is_taken_of_each_predicted_class():
    confidences = np.array([0.9, 0.1, 0.5, 0.8, 0.3, 0.7])
    guesses = np.array([0, 0, 0, 0, 1, 1])
    assert top_of_each_class(confidences, guesses, 0.5).tolist() == [True, False, False, True, False, True]
    assert top_of_each_class(confidences, guesses, 1.0).all()


def test_every_round_labels_the_whole_pool_anew(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=3, steps=15, first_share=1.0, top_share=1.0, random_state=0).fit(X, y)
    assert [entry["round"] for entry in method.rounds_] == [1, 2, 3]
    for labels in method.round_pseudo_labels_:
        assert len(labels) == 90  # one label an image, however many rounds: nothing is appended twice
        assert (labels >= 0).all()
    assert method.rounds_[0]["agreement"] is None
    first, second = method.round_pseudo_labels_[:2]
    assert method.rounds_[1]["agreement"] == pytest.approx((first == second).mean())
    assert method.rounds_[1]["agreement"] > 0.5


def test_the_share_grows_from_the_first_to_the_top_share(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=3, steps=3, first_share=0.2, top_share=0.8, random_state=0).fit(X, y)
    assert [entry["pool_share"] for entry in method.rounds_] == pytest.approx([0.2, 0.5, 0.8], abs=0.05)


def test_a_threshold_takes_what_is_above_it(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=1, steps=30, threshold=0.7, random_state=0).fit(X, y)
    assert method.rounds_[0]["threshold"] > 0.7
    assert method.rounds_[0]["pool_share"] < 1


def test_when_no_pool_image_is_sure_enough_training_ends(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=2, steps=1, threshold=0.999, random_state=0).fit(X, y)
    assert method.termination_condition_ == "no_change"
    assert method.n_iter_ == 0
    assert set(method.labeled_iter_[60:]) == {-1}


@pytest.mark.parametrize("name", ["self-training", "noisy-student"])
def test_a_budget_is_the_teachers_where_there_is_no_pool(name, few_labels):
    X, y, *_ = few_labels
    labeled = y >= 0
    method = fewlabels.make_method(name, budget="4k images", batch_size=32, rounds=2, random_state=0)
    method.fit(X[labeled], y[labeled])
    assert method.gradient_images_ == 4_000
    assert method.stage_steps_ == {"teacher": 125}


def test_a_budget_is_not_left_over_when_no_pool_image_is_sure_enough(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(threshold=0.9999, budget="8k images", random_state=0)
    with pytest.warns(TrainingWarning, match="sure enough of no sample of the pool"):
        method.fit(X, y)
    assert method.termination_condition_ == "no_change"
    assert list(method.stage_steps_) == ["teacher", "labeled samples alone"]
    assert 7500 < method.gradient_images_ <= 8000


def test_without_a_pool_it_is_its_teacher(digits):
    images, labels = digits
    method = SelfTraining(steps=3, random_state=0).fit(images[:50], labels[:50])
    assert method.termination_condition_ == "no_change"
    assert list(method.stage_steps_) == ["teacher"]


def test_labeled_iter_tells_in_which_round_a_row_got_its_final_label(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=2, steps=10, first_share=0.3, top_share=0.6, random_state=0).fit(X, y)
    assert set(method.labeled_iter_[:60]) == {0}
    first, second = method.round_pseudo_labels_
    own = method.labeled_iter_[60:]
    assert np.array_equal(own == -1, second < 0)
    assert np.array_equal(own == 1, (second >= 0) & (first == second))
    assert np.array_equal(own == 2, (second >= 0) & (first != second))


def test_a_fresh_start_forgets_and_going_on_does_not(few_labels):
    X, y, *_ = few_labels

    def first_loss_of_the_round(restart):
        method = SelfTraining(rounds=1, steps=30, restart=restart, random_state=0).fit(X, y)
        return next(event["loss"] for event in method.history_ if event["stage"] == "round 1")

    assert first_loss_of_the_round(restart=False) < first_loss_of_the_round(restart=True) - 0.3


def test_labels_are_averaged_over_the_nets_of_all_rounds(few_labels):
    X, y, *_ = few_labels
    settings = {"rounds": 2, "steps": 15, "student_steps": 1.0, "first_share": 1.0, "top_share": 1.0}
    settings |= {"random_state": 0, "validation_fraction": 0.0}
    averaged = SelfTraining(ensemble=True, **settings).fit(X, y).round_pseudo_labels_
    alone = SelfTraining(ensemble=False, **settings).fit(X, y).round_pseudo_labels_
    assert np.array_equal(averaged[0], alone[0])
    # The second round's labels lean on the first's where both nets are asked.
    assert (averaged[1] == averaged[0]).mean() > (alone[1] == alone[0]).mean()


def test_a_student_that_is_far_worse_is_thrown_away(few_labels):
    X, y, *_ = few_labels
    settings = {"steps": 60, "batch_size": 16, "validation_fraction": 0.3, "random_state": 0}
    teacher = SelfTraining(rounds=0, **settings).fit(X, y)
    method = SelfTraining(rounds=2, student_steps=0.01, **settings).fit(X, y)
    assert method.termination_condition_ == "validation"
    assert method.rounds_[-1]["accepted"] is False
    assert np.array_equal(method.predict(X), teacher.predict(X))


@pytest.mark.parametrize("labeled_share", [0.5, None])
def test_a_pool_sample_of_zero_weight_gets_no_gradient(labeled_share, few_labels):
    """With a threshold, pool samples below it are in no batch."""
    X, y, *_ = few_labels
    settings = {"rounds": 1, "steps": 20, "batch_size": 32, "threshold": 0.6}
    method = SelfTraining(labeled_share=labeled_share, random_state=0, **settings)
    seen = []
    original = SelfTraining.loss

    def spy(self, nets, batch):
        seen.append(batch.labeled.clone())
        return original(self, nets, batch)

    SelfTraining.loss = spy
    try:
        method.fit(X, y)
    finally:
        SelfTraining.loss = original
    stored = np.round(X[60:] * 255).astype(np.uint8)
    left_out = stored[method.round_pseudo_labels_[0] < 0]
    trained_on = {image.numpy().tobytes() for batch in seen for image in batch}
    kept = stored[method.round_pseudo_labels_[0] >= 0]
    duplicates = {image.tobytes() for image in kept}
    assert not trained_on & ({image.tobytes() for image in left_out} - duplicates)
    assert trained_on & duplicates


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": -1}, "rounds=-1"),
        ({"top_share": 0}, "top_share=0"),
        ({"first_share": 2}, "first_share=2"),
        ({"threshold": 1}, "threshold=1"),
        ({"labeled_share": 1}, "labeled_share=1"),
        ({"student_steps": 0}, "student_steps=0"),
        ({"asked_share": 0}, "asked_share=0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message, few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match=message):
        SelfTraining(**settings).fit(X, y)


def test_a_short_budget_is_spent_on_steps_rather_than_on_looks_at_accuracies(few_labels, monkeypatch):
    # Six looks in each of three stages would take more than there is.
    monkeypatch.setattr(spending, "_seconds_to_look", lambda *_: 0.5)
    X, y, *_ = few_labels
    method = SelfTraining(rounds=2, student_steps=2, budget="8s", random_state=0).fit(X, y)
    # With all looks it would be one; a busy machine has time for few more.
    assert method.stage_steps_["teacher"] > 1
    assert method.stage_steps_["round 2"] == 2 * method.stage_steps_["teacher"]
    looks = [event for event in method.history_ if "train_accuracy" in event]
    assert [event["stage"] for event in looks] == ["teacher", "round 1", "round 2"]
    assert all(event["step"] == event["steps"] for event in looks)


@pytest.mark.usefixtures("bare_net")
@pytest.mark.parametrize("name", ["self-training", "noisy-student"])
def test_a_budget_too_short_for_several_students_goes_into_one(name, few_labels):
    X, y, *_ = few_labels
    settings = {"batch_size": 8, "random_state": 0}
    method = fewlabels.make_method(name, budget="800 images", **settings).fit(X, y)
    assert method.stage_steps_ == {"teacher": 50, "round 1": 50}
    recorded = {key: method.settings_[key] for key in ("rounds", "student_steps")}
    again = fewlabels.make_method(name, steps=50, **recorded, **settings).fit(X, y)
    np.testing.assert_array_equal(method.predict_proba(X), again.predict_proba(X))
    # Rounds that are asked for are held, and with more time there are as many as by default.
    asked = fewlabels.make_method(name, budget="800 images", rounds=4, **settings).fit(X, y)
    assert asked.stage_steps_["round 4"] == 3 * asked.stage_steps_["teacher"]


@pytest.mark.usefixtures("bare_net")
def test_a_budget_with_time_for_a_teacher_goes_into_all_rounds(few_labels, monkeypatch):
    assert self_training._LEAST_TEACHER == 250
    monkeypatch.setattr(self_training, "_LEAST_TEACHER", 25)
    X, y, *_ = few_labels
    method = SelfTraining(budget="700 images", batch_size=4, random_state=0).fit(X, y)
    assert method.stage_steps_ == {"teacher": 25, "round 1": 75, "round 2": 75}
    shorter = SelfTraining(budget="690 images", batch_size=4, random_state=0).fit(X, y)
    assert list(shorter.stage_steps_) == ["teacher", "round 1"]


def test_a_short_training_asks_for_no_more_labels_than_its_students_can_learn_from(few_labels):
    X, y, *_ = few_labels
    settings = {"rounds": 2, "steps": 2, "student_steps": 1.0, "batch_size": 16, "random_state": 0}
    method = SelfTraining(asked_share=2.0, **settings).fit(X, y)
    # Two steps draw 8 of the pool each.
    assert [entry["asked"] for entry in method.rounds_] == [32, 32]
    labels = np.array(method.round_pseudo_labels_)
    assert labels.shape == (2, 90)
    asked = (labels >= 0).any(0)
    assert 16 <= asked.sum() <= 32
    assert asked[45:].any()  # not the first ones
    assert asked[:45].any()
    assert method.rounds_[1]["pool_share"] == pytest.approx((labels[1] >= 0).mean(), abs=1e-4)
    assert method.rounds_[1]["agreement"] is not None
    assert [entry["asked"] for entry in SelfTraining(asked_share=None, **settings).fit(X, y).rounds_] == [90, 90]


@pytest.mark.parametrize(
    ("method", "settings", "asked"),
    [
        # A quarter of a noisy student's batch is labeled, half of the others'.
        ("noisy-student", {"least_confidence": 0}, 24),
        ("label-spreading", {}, 16),
        ("ensemble-labels", {}, 16),
        # How many are taken is to be what it was.
        ("self-training", {"threshold": 0.1}, 90),
        ("self-training", {"labeled_share": None}, 90),
    ],
)
def test_how_many_labels_a_method_asks_for(method, settings, asked, few_labels):
    X, y, *_ = few_labels
    short = {"rounds": 1, "steps": 2, "student_steps": 1.0, "batch_size": 16, "random_state": 0}
    fitted = fewlabels.make_method(method, **short, **settings).fit(X, y)
    assert fitted.rounds_[0]["asked"] == asked
    if method == "label-spreading":
        # The graph of vectors is made of all of them.
        fitted = fewlabels.make_method(method, **short, **settings).fit(X.reshape(len(X), -1), y)
        assert fitted.rounds_[0]["asked"] == 90


def test_what_labels_cost_is_taken_from_the_time_of_steps_and_grows_with_them(few_labels, monkeypatch):
    X, y, *_ = few_labels
    monkeypatch.setattr(session, "cost_of_step", lambda *_, **__: 0.01)
    monkeypatch.setattr(spending, "_seconds_to_look", lambda *_: 0.0)
    # As if a pool of 90 took twice the time there is.
    monkeypatch.setattr(SelfTraining, "_seconds_to_label", lambda *_: 10.0)
    settings = {"rounds": 1, "student_steps": 1.0, "batch_size": 8, "budget": "5s", "random_state": 0}
    whole = SelfTraining(asked_share=None, **settings).fit(X, y)
    part = SelfTraining(asked_share=1.0, **settings).fit(X, y)
    assert whole.stage_steps_["teacher"] == 1
    # A step of each net takes 20 ms, labels for the four samples that it draws 444.
    assert 7 <= part.stage_steps_["teacher"] <= 11
    assert part.rounds_[0]["asked"] == 4 * part.stage_steps_["teacher"]


def test_guesses_are_as_sure_as_held_out_samples_say(few_labels):
    X, y, *_ = few_labels
    seen = []

    class Watched(SelfTraining):
        def _label(self, session, network, pool):
            found, temperature = super()._label(session, network, pool)
            seen.append((found, session.logits(network, pool), temperature))
            return found, temperature

    Watched(rounds=1, steps=10, validation_fraction=0.3, random_state=0).fit(X, y)
    [(found, logits, temperature)] = seen
    assert temperature != 1
    assert np.allclose(found, softmax(logits / temperature, axis=1), atol=1e-6)


def test_labels_and_guesses_weigh_as_much_as_was_asked_for():
    given, guessed = np.array([0, 1]), np.array([1, 0, -1])
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])

    def weights(**settings):
        return SelfTraining(**settings)._sample_weights(given, guessed, probabilities).tolist()

    assert weights(labeled_weight=3.0) == [3, 3, 1, 1, 1]
    assert weights(confidence_weights=True) == [1, 1, 0.8, 0.6, 0.5]


def test_the_loss_is_the_weighted_mean():
    logits, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]]), torch.tensor([0, 0, 1])
    views = SimpleNamespace(plain=lambda samples: samples)
    batch = Batch(logits, targets, torch.tensor([3.0, 1.0, 0.0]), None, views, 0.0)
    found = labeled_loss(torch.nn.Identity(), batch, view="plain", label_smoothing=0.0)
    terms = -logits.log_softmax(1)[torch.arange(3), targets]
    assert torch.isclose(found, (3 * terms[0] + terms[1]) / 4)


def test_a_student_is_compared_with_the_one_before_it(few_labels, monkeypatch):
    X, y, *_ = few_labels
    # The second student does better than the teacher, and worse than the first.
    answers = iter([np.arange(100) < right for right in (50, 90, 60)])
    monkeypatch.setattr(self_training, "right_answers", lambda session, network: next(answers))
    method = SelfTraining(rounds=2, steps=2, batch_size=16, random_state=0).fit(X, y)
    assert [entry["accepted"] for entry in method.rounds_] == [True, False]


def test_a_pass_of_a_student_is_over_labels_and_pseudo_labels(few_labels):
    X, y, *_ = few_labels
    settings = {"epochs": 2, "batch_size": 10, "rounds": 1, "top_share": 1.0, "validation_fraction": 0.0}
    method = SelfTraining(**settings, random_state=0).fit(X, y)
    # 60 samples are labeled, and 90 more are then.
    assert method.stage_steps_ == {"teacher": 2 * 60 // 10, "round 1": 2 * 150 // 10}


@pytest.mark.usefixtures("narrow_net")
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sim-clr", {"classifier_method": "self-training", "pretraining_steps": 3}),
        ("net-and-patches", {"net_method": "self-training", "centroids": 20, "patches": 500}),
    ],
)
def test_rounds_are_not_the_iterations_of_a_method_that_it_is_a_part_of(name, settings, few_labels):
    X, y, *_ = few_labels
    method = make_method(name, steps=2, batch_size=16, random_state=0, **settings).fit(X, y)
    assert method.rounds_
    assert method.n_iter_ == sum(method.stage_steps_.values()) > len(method.rounds_)
