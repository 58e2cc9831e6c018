"""A training that is stopped and continued ends as if it had never been stopped."""

import errno
import json
import os
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from fewlabels import METHODS, InputError, __version__, make_method
from fewlabels.storage.errors import Interrupted, TrainingWarning
from fewlabels.storage.lock import FolderLock
from fewlabels.training.checkpoint import FORMAT_VERSION, Checkpoints
from fewlabels.training.recovery import Diverged

every_method = pytest.mark.parametrize("name", METHODS)
pytestmark = pytest.mark.usefixtures("narrow_net")

BRIEF = {
    "steps": 6,
    "batch_size": 8,
    "rounds": 1,
    "student_steps": 1.0,
    "pretraining_steps": 4,
    "pretraining_batch": 8,
    "centroids": 30,
    "patches": 1000,
    "unlabeled_ratio": 1.0,
    # What has state of its own, wherever a method has it.
    "warm_start": 0.4,
    "teacher_decay": 0.9,
    "align_guesses": True,
    "ema_decay": 0.9,
    "dropout": 0.2,
    "random_state": 0,
}


SEVERAL = {"preset": "short", "ensemble_size": 2, "steps": None, "pretraining_steps": None, "budget": "1k images"}


def brief(name, **settings):
    known = METHODS[name]().get_params()
    return make_method(name, **{key: value for key, value in (BRIEF | settings).items() if key in known})


def stop_at(number, kind=signal.SIGTERM):
    """Return an observer that sends this process a signal when it is told of the event with that number."""
    told = []

    def observer(event):
        told.append(event)
        if len(told) == number:
            signal.raise_signal(kind)

    return observer


def fit_with_stops(method, folder, stops, *data, **more):
    """Fit, stopped by a signal at each of some events, and continued."""
    for number in stops:
        with pytest.raises(Interrupted):
            method.fit(*data, checkpoint=folder, observer=stop_at(number), **more)
    return method.fit(*data, checkpoint=folder, **more)


def assert_same(one, other, X):
    for (key, a), (_, b) in zip(one.network_.state_dict().items(), other.network_.state_dict().items(), strict=True):
        assert torch.equal(a, b), key
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))
    histories = [[{k: v for k, v in e.items() if k != "seconds"} for e in m.history_] for m in (one, other)]
    assert histories[0] == histories[1]
    np.testing.assert_equal(one.pool_looks_, other.pool_looks_)
    assert one.stage_steps_ == other.stage_steps_
    assert list(one.kept_weights_) == list(other.kept_weights_)
    for kept, again in zip(one.kept_weights_.values(), other.kept_weights_.values(), strict=True):
        assert kept.step == again.step
        assert all(torch.equal(value, again.state[name]) for name, value in kept.state.items())
    assert np.array_equal(one.transduction_, other.transduction_)


@pytest.fixture
def few(few_labels):
    X, y, *_ = few_labels
    return X[:120], y[:120]


@every_method
def test_a_stopped_fit_ends_bit_for_bit_as_one_never_stopped(name, few, tmp_path):
    whole = brief(name).fit(*few)
    events = len(whole.history_) + len(whole.stage_steps_)
    resumed = fit_with_stops(brief(name), tmp_path / "c", [max(1, int(events * s)) for s in (0.3, 0.7)], *few)
    assert_same(whole, resumed, few[0])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fix-match", {"guard": True}),
        ("fix-match", {"assess_pool": True}),
        ("fix-match", {"optimizer": "adam"}),
        ("uda", {"guard": True, "preset": "short"}),
        ("sim-clr", {"guard": True, "preset": "short"}),
        ("sim-clr", SEVERAL),
        ("self-training", {"guard": True}),
        ("self-training", {"guard": True, "assess_pool": True, "steps": None, "budget": "1k images"}),
    ],
)
def test_what_is_trained_beside_a_method_is_continued_too(name, settings, few, tmp_path):
    whole = brief(name, **settings).fit(*few)
    events = len(whole.history_) + len(whole.stage_steps_)
    resumed = fit_with_stops(brief(name, **settings), tmp_path / "c", [4, int(events * 0.6)], *few)
    assert_same(whole, resumed, few[0])
    assert getattr(resumed, "guard_", None) == getattr(whole, "guard_", None)


@pytest.mark.parametrize("name", ["self-training", "sim-clr"])
def test_vectors_are_continued_too(name, few, tmp_path):
    X = few[0].reshape(len(few[0]), -1)
    whole = brief(name).fit(X, few[1])
    assert_same(whole, fit_with_stops(brief(name), tmp_path / "c", [9], X, few[1]), X)


# How much is learned in two seconds is the machine's: on a fast one, every guess has passed the threshold.
@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_the_steps_that_a_budget_came_to_stay_when_the_fit_goes_on(few, tmp_path):
    method = brief("flex-match", steps=None, budget="2s")
    with pytest.raises(Interrupted):
        method.fit(*few, checkpoint=tmp_path / "c", observer=stop_at(3))
    steps = {}

    def observer(event):
        steps.setdefault(event["stage"], event["steps"])

    method.fit(*few, checkpoint=tmp_path / "c", observer=observer)
    assert len(steps) == 2
    assert steps == method.stage_steps_
    # Both parts stem from one number of steps, which was measured before the stop.
    alone, both = steps.values()
    assert alone == pytest.approx(0.4 * (alone + both), abs=1)


@pytest.mark.parametrize("name", ["two-step-autoencoder", "sim-clr", "self-training"])
def test_a_budget_that_several_stages_share_is_divided_as_before(name, few, tmp_path):
    settings = {"steps": None, "pretraining_steps": None, "student_steps": 2.0, "budget": "1000 images"}
    whole = brief(name, **settings).fit(*few)
    assert len(set(whole.stage_steps_.values())) > 1
    # In the last stage: those before are over, and do not measure again.
    events = len(whole.history_) + len(whole.stage_steps_)
    assert_same(whole, fit_with_stops(brief(name, **settings), tmp_path / "c", [events - 2], *few), few[0])


def test_without_a_seed_the_one_that_was_drawn_is_kept(few, tmp_path):
    method = brief("supervised", random_state=None)
    told = []
    with pytest.raises(Interrupted):
        method.fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    method.fit(*few, checkpoint=tmp_path / "c", observer=told.append)
    # The events from before the stop are told again, so that an observer has seen all.
    assert [event["step"] for event in told] == list(range(7))
    again = brief("supervised", random_state=None).fit(*few, checkpoint=tmp_path / "c")
    assert np.array_equal(method.predict_proba(few[0]), again.predict_proba(few[0]))


def test_without_a_seed_a_method_without_steps_learns_the_same_again(few, tmp_path):
    one, other = (
        brief("kmeans-features", random_state=None, patches=100).fit(*few, checkpoint=tmp_path / "c") for _ in range(2)
    )
    assert np.array_equal(one.predict_proba(few[0]), other.predict_proba(few[0]))


def test_a_generator_that_has_moved_on_continues_what_it_began(few, tmp_path):
    method = brief("supervised", random_state=np.random.RandomState(0))
    with pytest.raises(Interrupted):
        method.fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    method.fit(*few, checkpoint=tmp_path / "c")
    never_stopped = brief("supervised", random_state=np.random.RandomState(0)).fit(*few)
    assert np.array_equal(method.predict_proba(few[0]), never_stopped.predict_proba(few[0]))


def test_another_training_in_the_folder_is_refused_and_kept(few, tmp_path):
    with pytest.raises(Interrupted):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    before = sorted(os.listdir(tmp_path / "c"))
    with pytest.raises(InputError, match=r"learning_rate is 0\.24 there and 0\.1 here"):
        brief("supervised", learning_rate=0.1).fit(*few, checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match="seed is "):
        brief("supervised", random_state=1).fit(*few, checkpoint=tmp_path / "c")
    with pytest.raises(InputError, match="training: it was begun with other labeled images or other labels; give"):
        brief("supervised").fit(few[0][::-1].copy(), few[1][::-1].copy(), checkpoint=tmp_path / "c")
    assert sorted(os.listdir(tmp_path / "c")) == before


def test_a_pool_of_which_one_image_is_another_is_another_training(few, tmp_path):
    X, y = few
    pool = np.tile(X, (4, 1, 1))
    with pytest.raises(Interrupted):
        brief("fix-match").fit(X, y, unlabeled=pool, checkpoint=tmp_path / "c", observer=stop_at(4))
    pool[302, 2, 2] += 0.5
    with pytest.raises(InputError, match="pool is "):
        brief("fix-match").fit(X, y, unlabeled=pool, checkpoint=tmp_path / "c")


def test_a_folder_in_use_is_refused(few, tmp_path):
    with FolderLock(tmp_path / "c"), pytest.raises(InputError, match="in use by process"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c")


def test_a_folder_with_other_files_is_refused(few, tmp_path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(InputError, match="other files"):
        brief("supervised").fit(*few, checkpoint=tmp_path)
    assert os.listdir(tmp_path) == ["photo.png"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(few, tmp_path):
    whole = brief("self-training").fit(*few)
    with pytest.raises(Interrupted):
        brief("self-training").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=stop_at(11))
    newest, before = sorted((tmp_path / "c").glob("at-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-7])
    content = bytearray(before.read_bytes())
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    with pytest.warns(TrainingWarning, match=f"passed over as damaged: .*{newest.name}; training goes on after step"):
        assert_same(whole, brief("self-training").fit(*few, checkpoint=tmp_path / "d"), few[0])
    # Of one that is whole but for a bit, the checksum tells.
    content[-100] ^= 1
    before.write_bytes(bytes(content))
    with pytest.warns(TrainingWarning, match=f"{newest.name}, .*{before.name}; this stage begins anew"):
        assert_same(whole, brief("self-training").fit(*few, checkpoint=tmp_path / "c"), few[0])


@pytest.mark.parametrize("size", [0, 5000])
def test_damaged_checkpoints_do_not_outlive_those_that_come_after_them(size, few, tmp_path):
    def stopped(number):
        with pytest.raises(Interrupted):
            brief("supervised").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=stop_at(number))
        return sorted((tmp_path / "c").glob("at-*"))

    damaged = stopped(5)
    for path in damaged:
        os.truncate(path, size)
    with pytest.warns(TrainingWarning, match="this stage begins anew"):
        reached = stopped(3)
    assert 0 < len(reached) <= 2
    assert not set(reached) & set(damaged)
    assert_same(brief("supervised").fit(*few), brief("supervised").fit(*few, checkpoint=tmp_path / "c"), few[0])


@pytest.mark.parametrize("kind", ["at", "stage"])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_checkpoint_that_cannot_be_read_is_refused_and_all_is_kept(kind, error, few, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        brief("self-training").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=stop_at(11))
    before = sorted(os.listdir(tmp_path / "c"))
    refused = sorted((tmp_path / "c").glob(f"{kind}-*"))[-1]
    opened = Path.open

    def unreadable(path, *args, **kwargs):
        if path == refused:
            raise OSError(error, os.strerror(error))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", unreadable)
    with pytest.raises(OSError, match=f"{os.strerror(error)}: '{refused}'"):
        brief("self-training").fit(*few, checkpoint=tmp_path / "c")
    assert sorted(os.listdir(tmp_path / "c")) == before


def test_after_a_damaged_stage_what_is_saved_of_it_stays(few, tmp_path):
    whole = brief("self-training").fit(*few)
    with pytest.raises(Interrupted):
        brief("self-training").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=stop_at(11))
    stage = tmp_path / "c" / "stage-001.safetensors"
    stage.write_bytes(stage.read_bytes()[:-7])
    # It is learned again, and stopped in the midst of that.
    with (
        pytest.raises(Interrupted),
        pytest.warns(TrainingWarning, match=f"{stage.name} is damaged; its stage is trained again, and what comes"),
    ):
        brief("self-training").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=stop_at(4))
    assert {path.name[:6] for path in (tmp_path / "c").glob("at-*")} == {"at-001"}
    assert_same(whole, brief("self-training").fit(*few, checkpoint=tmp_path / "c"), few[0])


def test_a_second_stop_says_that_there_is_a_checkpoint(few, tmp_path):
    def insist(event):
        if event["step"] == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="the last checkpoint is kept"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=insist)


def test_a_stop_before_the_first_stage_says_that_nothing_is_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    with pytest.raises(Interrupted) as stop, checkpoints.stoppable():
        raise KeyboardInterrupt
    assert (str(stop.value), stop.value.folder) == ("stopped between two stages; nothing was saved yet", None)
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_of_another_format_says_so(few, tmp_path):
    with pytest.raises(Interrupted):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    path = tmp_path / "c" / "training.json"
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))
    with pytest.raises(InputError, match="checkpoint format 99"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c")


def test_a_checkpoint_of_another_version_is_refused_and_kept(few, tmp_path):
    with pytest.raises(Interrupted):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    path = tmp_path / "c" / "training.json"
    path.write_text(path.read_text().replace(f'"fewlabels": "{__version__}"', '"fewlabels": "0.0.9"'))
    with pytest.raises(InputError, match=r"another version of fewlabels \(0.0.9, .*; finish it with that version"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c")
    assert path.exists()


def test_nothing_is_written_before_a_checkpoint_is_due_or_the_end(few, tmp_path):
    seen = []
    brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=lambda e: seen.append(os.listdir(tmp_path / "c")))
    assert {tuple(names) for names in seen} == {(".lock",)}
    assert sorted(os.listdir(tmp_path / "c")) == ["stage-001.safetensors", "training.json"]


def test_a_full_disk_does_not_end_a_training(few, tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            method = brief("supervised").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "no checkpoint could be written: File too large" in str(caught[0].message)
    assert "MB are needed" in str(caught[0].message)
    assert_same(brief("supervised").fit(*few), method, few[0])
    assert not list((tmp_path / "c").glob("*.safetensors"))
    assert str(caught[0].message).endswith("; training goes on, and none is kept")
    # That it was begun is no training to go on with.
    assert str(caught[-1].message).endswith("; none is kept")
    assert not (tmp_path / "c").exists()


def test_an_error_that_may_not_come_again_says_that_the_last_checkpoint_is_kept(few, tmp_path):
    def fit(error, at):
        def observer(event):
            if event["step"] == at:
                raise error

        with pytest.raises(type(error)) as raised:
            brief("supervised").fit(*few, checkpoint=tmp_path / "c", checkpoint_every=0, observer=observer)
        return getattr(raised.value, "__notes__", [])

    assert fit(InputError("the pool cannot be read"), at=0) == []
    assert fit(InputError("the pool cannot be read"), at=3) == [f"the last checkpoint is kept in {tmp_path / 'c'}"]
    assert fit(OSError(5, "Input/output error"), at=4) == [f"the last checkpoint is kept in {tmp_path / 'c'}"]
    assert fit(Diverged("step 5 went wrong", "try a lower rate", [], []), at=5) == []


@pytest.mark.parametrize("name", ["precision", "numpy", "scikit-learn"])
def test_another_precision_and_other_versions_of_packages_are_warned_of(name, few, tmp_path):
    with pytest.raises(Interrupted):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    path = tmp_path / "c" / "training.json"
    training = json.loads(path.read_text())
    # As on a machine where this is another by itself.
    here, training["conditions"][name] = training["conditions"][name], "other"
    path.write_text(json.dumps(training))
    with pytest.warns(TrainingWarning, match=f"{name} is 'other' there and '{here}' here"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c")


def test_other_threads_are_warned_of(few, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c", observer=stop_at(4))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.warns(TrainingWarning, match="threads is .* and 99 here"):
        brief("supervised").fit(*few, checkpoint=tmp_path / "c")
