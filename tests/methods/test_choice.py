"""Which methods are considered, by the data alone."""

from dataclasses import replace

import pytest

from fewlabels import METHODS, make_method
from fewlabels.methods.choice import Situation, candidates, why_patches

USUAL = Situation(labels=500, classes=10, least=50, pool=45_000, side=32, images=64_000)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pool": 0}, "supervised"),
        ({"pool": 200}, "supervised"),
        ({}, "two-step-autoencoder"),
        ({"labels": 5000, "least": 500}, "self-training"),
        ({"images": 500_000}, "uda"),
        ({"images": 500_000, "labels": 200, "least": 20}, "sim-clr"),
        ({"images": 500_000, "labels": 200, "least": 20, "decodable": False}, "uda"),
        ({"images": 500_000, "labels": 250, "least": 25}, "uda"),
        ({"images": 500_000, "labels": 200, "least": 20, "pool": 9_000}, "uda"),
        ({"images": 990_000}, "uda"),
        ({"images": 1_000_000}, "sim-clr"),
        ({"images": 1_000_000, "budgeted": True}, "sim-clr"),
        ({"images": 1_000_000, "labels": 600, "least": 60}, "uda"),
        ({"images": 1_000_000, "pool": 9_000}, "uda"),
        ({"decodable": False}, "self-training"),
        ({"budgeted": True}, "supervised"),
        ({"budgeted": True, "images": 500_000}, "uda"),
        ({"budgeted": True, "images": 250_000, "labels": 200, "least": 20}, "sim-clr"),
        ({"budgeted": True, "images": 240_000, "labels": 200, "least": 20}, "uda"),
        ({"budgeted": True, "images": 120_000}, "uda"),
        ({"budgeted": True, "images": 256_000, "labels": 5000, "least": 500}, "supervised"),
        ({"budgeted": True, "images": 450_000, "labels": 5000, "least": 500}, "uda"),
        ({"budgeted": True, "images": 128_000, "labels": 2044, "least": 50}, "supervised"),
        ({"images": 120_000}, "two-step-autoencoder"),
        ({"budgeted": True, "side": 0}, "label-spreading"),
        ({"side": 0}, "label-spreading"),
        ({"side": 0, "pretrained": True}, "self-training"),
        ({"side": 0, "pretrained": True, "pool": 0}, "linear-probe"),
    ],
)
def test_the_likeliest_method_follows_from_the_situation(change, expected):
    assert candidates(replace(USUAL, **change))[0].method == expected


@pytest.mark.parametrize(
    ("change", "long"), [({"labels": 5000, "least": 500}, 1_500_000), ({"labels": 100, "least": 10}, 1_000_000)]
)
def test_a_long_training_takes_a_wider_net(change, long):
    usual = replace(USUAL, **change)
    assert "net" not in candidates(replace(usual, images=long - 1))[0].settings
    assert candidates(replace(usual, images=long))[0].settings["net"] == "fast-wide"
    assert "net" not in candidates(replace(usual, images=long, any_net=False))[0].settings


@pytest.mark.parametrize("change", [{}, {"pool": 0}, {"pool": 200}])
def test_the_labels_alone_get_a_coarse_net_where_time_is_short(change):
    hasty = replace(USUAL, budgeted=True, timed=True, images=30_000, **change)
    many = {"labels": 5000, "least": 500}
    for other in ({}, {"images": 64_000} | many):
        assert candidates(replace(hasty, **other))[0].settings == {"net": "fast-coarse"}
    # A count of images is none of time, a long training has time for the default net, and tiny images are not halved.
    # A net that was asked for stays.
    for other in ({"timed": False}, {"side": 8}, {"images": 64_000}, {"images": 256_000} | many, {"any_net": False}):
        assert candidates(replace(hasty, **other))[0].settings == {}


@pytest.mark.parametrize(
    ("change", "takes"),
    [
        ({}, True),
        ({"pool": 0}, True),
        ({"side": 0}, False),
        ({"side": 8}, False),
        ({"side": 224}, False),
        ({"pretrained": True, "side": 0}, False),
        ({"decodable": False}, False),
        # A count of images or steps is none of time: they may take as long as the net, and not much longer.
        ({"labels": 5000, "least": 500, "budgeted": True, "images": 32_000}, True),
        ({"labels": 50_000, "least": 5000}, False),
        ({"budgeted": True, "timed": True, "images": 100_000}, True),
        ({"budgeted": True, "timed": True, "images": 30_000}, False),
        ({"budgeted": True, "timed": True, "images": 1e6, "labels": 5000, "least": 500}, False),
        ({"budgeted": True, "timed": True, "images": 100_000, "patches": 50_000}, False),
        ({"budgeted": True, "timed": True, "images": 30_000, "patches": 1_000}, True),
    ],
)
def test_patches_answer_too_where_they_take_little_of_the_time(change, takes):
    assert (why_patches(replace(USUAL, **change)) is not None) is takes


def test_every_candidate_can_be_made_and_says_why():
    for pool in (0, 200, 45_000):
        for least in (5, 500):
            for side in (0, 32):
                for images in (1_000, 1e6, 1e7):
                    for found in candidates(Situation(10 * least, 10, least, pool, side, images)):
                        assert found.method in METHODS
                        assert found.method != "auto"
                        make_method(found.method, **found.settings).check_settings()
                        if side:
                            # What `Auto` makes of it.
                            both = {"net_method": found.method, **found.settings}
                            make_method("net-and-patches", **both).check_settings()
                        assert len(found.because.split()) > 3
