import subprocess
import sys

import pytest
import torch

from fewlabels.nets import build_classifier
from fewlabels.training.optimizers import SGD, AdamW
from fewlabels.training.recipe import Recipe

PROGRAM = """
import sys
import numpy as np
from fewlabels import Supervised

images = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
for optimizer in ("muon", "sgd", "adam"):
    Supervised(steps=2, optimizer=optimizer, random_state=0).fit(images, np.arange(40) % 2)
    print(optimizer, sorted(name for name in sys.modules if name.startswith("torch._dynamo")))
"""


def test_a_training_does_not_import_the_compiler():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout == "muon []\nsgd []\nadam []\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (AdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.1}),
        (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ],
)
def test_steps_are_those_of_pytorch(ours, theirs, options):
    def moved(kind):
        weights = [torch.arange(6.0).view(2, 3).requires_grad_(), torch.ones(3, requires_grad=True)]
        optimizer = kind([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.01}], **options)
        for _ in range(3):
            optimizer.zero_grad()
            ((weights[0] @ weights[1] - 1) ** 2).sum().backward()
            optimizer.step()
        return [weight.detach() for weight in weights], optimizer.state_dict()

    (found, state), (expected, expected_state) = moved(ours), moved(theirs)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert state["param_groups"] == expected_state["param_groups"]
    assert state["state"].keys() == expected_state["state"].keys()


def test_the_rate_is_that_of_a_net_in_which_muon_moves_nothing():
    def rates(net, rate):
        found = Recipe(learning_rate=rate).optimizers(build_classifier(net, (4,), 2), {})
        return sorted({group["lr"] for optimizer in found for group in optimizer.param_groups})

    assert rates("linear", 0.24) == [0.1]
    assert rates("linear", 0.12) == [0.05]
    # Elsewhere it is Muon's, and what Muon leaves has its own.
    assert rates("mlp", 0.24) == [0.1, 0.24]
    assert rates("mlp", 0.12) == [0.1, 0.12]


@pytest.mark.parametrize("net", ["fast", "notebook", "notebook-autoencoder", "wrn-28-2", "resnet-18"])
def test_muon_leaves_the_output_layer_free(net):
    classifier = build_classifier(net, (16, 16, 1), 10)
    held = [id(p) for group in Recipe().optimizers(classifier, {})[0].param_groups for p in group["params"]]
    assert id(list(classifier.parameters())[-2]) not in held


def groups(optimizer, factors=None, **settings):
    """Return the groups of parameters of a small net: Muon's, where it moves any, before the others'."""
    found = Recipe(optimizer=optimizer, **settings).optimizers(build_classifier("mlp", (4,), 2), factors or {})
    return [one.param_groups for one in found]


def test_the_momentum_is_the_one_asked_for_and_what_muon_leaves_has_its_own():
    def momenta(optimizer):
        return [{group["momentum"] for group in some} for some in groups(optimizer, momentum=0.3)]

    assert momenta("sgd") == [{0.3}]
    assert momenta("muon") == [{0.3}, {0.85}]


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adam"])
def test_rates_of_an_encoder_are_a_multiple_with_every_optimizer(optimizer):
    slow, usual = groups(optimizer, {"encoder.": 0.25}), groups(optimizer)
    for some, same in zip(slow, usual, strict=True):
        rate = same[0]["lr"]
        # Muon leaves the head, which is no part of the encoder, to others.
        assert {group["lr"] for group in some} <= {rate, 0.25 * rate}
        assert 0.25 * rate in {group["lr"] for group in some}


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adam"])
def test_weights_that_muon_leaves_decay_too(optimizer):
    others = groups(optimizer, weight_decay=0.1)[-1]
    for group in others:
        expected = {0.1} if group["params"][0].ndim > 1 else {0.0}
        assert {group["weight_decay"]} == expected
    assert 0.1 in {group["weight_decay"] for group in others}
