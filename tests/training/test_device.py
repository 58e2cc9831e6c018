import numpy as np
import pytest
import torch

from fewlabels import METHODS, InputError, make_method
from fewlabels.training.device import choose_device
from small_backbones import colors

BRIEF = {"steps": 2, "rounds": 1, "pretraining_steps": 2, "pretraining_batch": 8, "centroids": 20, "patches": 500}


def test_a_gpu_without_double_precision_is_not_taken(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match="no double precision, which is needed; use 'cpu'"):
        choose_device("mps")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("narrow_net")
def test_every_method_trains_with_operations_that_repeat_themselves(name, few_labels):
    X, y, *_ = few_labels
    known = METHODS[name]().get_params()
    settings = {key: value for key, value in (BRIEF | {"batch_size": 8}).items() if key in known}
    plain, strict = (
        make_method(name, random_state=0, deterministic=wanted, **settings).fit(X, y) for wanted in (False, True)
    )
    for (key, a), b in zip(plain.network_.state_dict().items(), strict.network_.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "more"), [*((name, {}) for name in METHODS), ("supervised", {"net": colors(), "feature_views": 2})]
)
@pytest.mark.usefixtures("narrow_net")
def test_a_default_of_double_precision_changes_nothing(name, more, color_images):
    X, y = color_images
    known = METHODS[name]().get_params()
    settings = {key: value for key, value in (BRIEF | {"batch_size": 8} | more).items() if key in known}
    usual = make_method(name, random_state=0, **settings).fit(X, y, unlabeled=X).predict_proba(X)
    torch.set_default_dtype(torch.float64)
    try:
        found = make_method(name, random_state=0, **settings).fit(X, y, unlabeled=X).predict_proba(X)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(usual, found)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("narrow_net")
def test_a_fit_on_the_cpu_leaves_the_generators_of_gpus_alone(name, color_images, monkeypatch):
    def seeded(*_):
        raise AssertionError("a GPU's generator was seeded")

    for seeds in ("manual_seed", "manual_seed_all", "seed_all"):
        monkeypatch.setattr(torch.cuda, seeds, seeded)
    X, y = color_images
    known = METHODS[name]().get_params()
    settings = {key: value for key, value in (BRIEF | {"batch_size": 8, "dropout": 0.1}).items() if key in known}
    make_method(name, random_state=0, device="cpu", **settings).fit(X, y, unlabeled=X)
