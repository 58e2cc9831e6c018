from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import fewlabels
from fewlabels.evaluation import Comparison, Mistake, Reconstructions, Run, wilson_interval
from fewlabels.report import html, render_report, write_report
from fewlabels.storage.errors import Interrupted

NAMES = ("<script>alert('x')</script>", "$cost & care$", "猫")
N = 600


def made_run(method: str, right: int, *, seed: int = 0, labels: int | None = 20) -> Run:
    truth = np.arange(N) % 3
    guesses = np.where(np.arange(N) < right, truth, (truth + 1) % 3)
    low, high = wilson_interval(right, N)
    image = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    is_autoencoder = method.endswith("autoencoder")
    rounds = [
        {
            "round": 1,
            "pool_share": 0.4,
            "agreement": None,
            "threshold": 0.91,
            "validation_accuracy": 0.8,
            "accepted": True,
        }
        | {"temperature": 1.2, "precision": 0.957, "recall": 0.38},
        {
            "round": 2,
            "pool_share": 0.8,
            "agreement": 0.93,
            "threshold": 0.61,
            "validation_accuracy": None,
            "accepted": False,
        }
        | {"temperature": 1.1, "precision": None, "recall": None},
    ]
    return Run(
        method=method,
        labels_per_class=labels,
        seed=seed,
        train_accuracy=0.993,
        validation_accuracy=float("nan"),
        test_accuracy=right / N,
        test_low=low,
        test_high=high,
        fit_seconds=12.34,
        gradient_images=64_000,
        parameters=290_218,
        test_probabilities=np.eye(3)[guesses] * 0.9 + 0.1 / 3,
        test_labels=truth,
        settings={"net": "auto", "learning_rate": 0.24, "budget": None},
        architecture="Classifier(\n  (head): Linear(8, 3)\n)",
        history=[
            {"stage": "classifier", "step": s, "steps": 9, "loss": 1 / s, "train_accuracy": s / 9} for s in (3, 6, 9)
        ],
        rounds=rounds if method == "self-training" else [],
        stage_steps={"classifier": 500},
        mistakes=[Mistake(right, int(truth[right]), int(guesses[right]), 0.933, image)],
        reconstructions=Reconstructions(np.stack([image]), np.stack([255 - image]), 0.04) if is_autoencoder else None,
    )


def made_comparison(runs: list[Run]) -> Comparison:
    data = {
        "20 labels per class, seed 0": {
            "name": "<img src=x onerror=alert(1)>",
            "classes": list(NAMES),
            "image_size": [8, 8],
            "channels": 3,
            "labeled": 60,
            "pool": 1000,
            "validation": 0,
            "test": N,
            "skipped": 2,
            "notes": ["resized from <b>mixed</b> sizes"],
            "fingerprint": "0123456789abcdef" * 4,
        }
    }
    config = {
        "source": "photos",
        "command": "fewlabels compare 'my & photos' --steps 500",
        "versions": {"fewlabels": "0.1.0", "torch": "2.13.0"},
        "threads": 2,
        "device": "cpu",
        "machine": "Linux x86_64",
        "data": data,
    }
    return Comparison(NAMES, config, runs)


@pytest.fixture(scope="module")
def runs():
    return [made_run("supervised", 420), made_run("self-training", 444), made_run("joint-autoencoder", 421)]


@pytest.fixture(scope="module")
def page(runs):
    return render_report(made_comparison(runs))


class Page(HTMLParser):
    """Collects tags with their attributes, and complains about tags that do not close as they opened."""

    void = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_the_page_asks_for_nothing_from_elsewhere(page):
    for tag, attributes in Page(page).found:
        assert tag not in ("link", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:", "#"))
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_one_script_runs_and_the_policy_names_it(page):
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert page.count("<script") == len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(dict(a)["content"] for tag, a in Page(page).found if a.get("http-equiv"))
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy


def test_names_and_paths_are_shown_as_text(page):
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>mixed" not in page
    words = Page(page).words
    assert NAMES[0] in words
    assert NAMES[1] in words
    assert "resized from <b>mixed</b> sizes" in words.replace("Resized", "resized")


def test_every_picture_decodes_and_says_what_it_shows(page):
    pictures = [attributes for tag, attributes in Page(page).found if tag == "img"]
    assert len(pictures) == 3 + 2
    for attributes in pictures:
        Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2]))).load()
        assert attributes["alt"]
    charts = [attributes for tag, attributes in Page(page).found if tag == "svg"]
    # Loss and accuracy of each, the rounds of self-training, the cost.
    assert len(charts) == 3 * 2 + 1 + 1
    assert all(attributes["aria-label"] for attributes in charts)


def test_the_verdict_and_its_numbers_are_those_of_the_runs(page):
    words = Page(page).words
    low, high = wilson_interval(444, N)
    verdict = f"self-training wins with 20 labels per class: 74.0% test accuracy ({low:.1%} to {high:.1%})"
    assert verdict in words
    assert words.index(verdict) < words.index("Accuracy with 20 labels per class")
    assert "Beats supervised by 4.0 points" in words
    assert "No difference to supervised shown (+0.2 points" in words
    assert "Worse than self-training by 3.8 points" in words
    assert "Overfitting gap of 25.3 points: 99.3% on the images it learned from, 74.0% on test images." in words


def test_each_method_shows_what_it_is_and_what_it_did(page):
    words = Page(page).words
    assert "95.7%" in words  # precision of the first round
    assert "; the last was thrown away, as it did worse." in words
    assert "off by 0.200 of the brightness range" in words
    assert "Architecture of self-training: 290,218 parameters" in words
    assert "learning_rate 0.24" in words
    # Those that hold nothing out, or leave each labeled image out in turn, are on the same page.
    assert "one temperature, found on the held-out images, or on others or none where the choices" in words
    assert "(head): Linear(8, 3)" in words


def test_the_page_ends_with_the_command_that_repeats_it(page):
    words = Page(page).words
    assert words.index("Repeat it") < words.index("fewlabels compare 'my & photos' --steps 500")
    assert "2 threads on cpu" in words


def test_several_seeds_and_numbers_of_labels_fit_on_one_page():
    runs = [
        made_run(method, right + labels + 4 * seed, seed=seed, labels=labels)
        for labels in (10, 50)
        for seed in (0, 1, 2)
        for method, right in (("supervised", 400), ("self-training", 430))
    ]
    words = Page(render_report(made_comparison(runs))).words
    assert "self-training wins with 10 labels per class" in words
    assert "self-training wins with 50 labels per class" in words
    assert "mean of 3 seeds" in words
    assert "seed by seed +5.0, +5.0, +5.0" in words


def test_what_there_is_one_of_is_not_told_as_several():
    runs = [made_run("supervised", 400, seed=seed, labels=labels) for labels, seed in ((1, 0), (50, 0), (50, 1))]
    comparison = made_comparison(runs)
    facts = comparison.config["data"].pop("20 labels per class, seed 0")
    comparison.config["data"] = {
        "1 labels per class, seed 0": {**facts, "labels_given": 300},
        "all labels per class, seed 0": facts,
    }
    words = Page(render_report(comparison)).words
    assert "Accuracy with 50 labels per class, mean of 2 seeds" in words
    assert "Accuracy with 1 label per class Method" in words
    assert "mean of 1" not in words
    assert "With 1 label per class and 300 given by hand, seed 0" in words
    assert "With the labels of the source, seed 0" in words
    assert "1 labels" not in words


def test_settings_that_differ_between_trainings_say_of_which_they_are():
    runs = [
        dataclasses.replace(run, settings={**run.settings, "learning_rate": rate, "random_state": seed})
        for labels, rate in ((10, 0.01), (50, 0.2))
        for seed in (0, 1)
        for run in [made_run("supervised", 400 + seed, seed=seed, labels=labels)]
    ]
    words = Page(render_report(made_comparison(runs))).words
    assert "Hyper-parameters of supervised with 10 labels per class, seed 0" in words
    assert "Otherwise in other trainings: learning_rate 0.2 with 50 labels per class, seed 0; with 50 labels" in words
    words = Page(render_report(made_comparison(runs[:1]))).words
    assert "Hyper-parameters of supervised:" in words
    assert "Otherwise" not in words


def test_how_right_the_guesses_for_the_pool_were_is_drawn_where_it_is_known():
    run = made_run("fix-match", 430)
    assert "Accuracy on training images" in Page(render_report(made_comparison([run]))).words
    run = dataclasses.replace(run, history=[{**event, "validation_accuracy": 0.8} for event in run.history])
    assert "Accuracy on training and validation images" in Page(render_report(made_comparison([run]))).words
    watched = dataclasses.replace(run, history=[{**event, "pool_accuracy": 0.87} for event in run.history])
    page = render_report(made_comparison([watched]))
    assert "Accuracy on training , validation and pool images" in Page(page).words
    # What a screen reader says of the chart.
    assert "pool images 87.0%" in page


def test_a_comparison_that_was_stopped_says_which_numbers_of_seeds_its_means_are_of():
    runs = [made_run("supervised", 400 + seed, seed=seed) for seed in (0, 1, 2)]
    runs += [made_run("self-training", 430 + seed, seed=seed) for seed in (0, 1)]
    assert "mean of 2 or 3 seeds" in Page(render_report(made_comparison(runs))).words


def test_one_method_alone_is_reported_without_rivals():
    words = Page(render_report(made_comparison([made_run("supervised", 420, labels=None)]))).words
    assert "supervised reaches 70.0% test accuracy" in words


def test_a_page_that_would_grow_too_large_leaves_out_pictures_and_says_so(monkeypatch, runs):
    monkeypatch.setattr(html, "_LARGEST_PAGE", 10_000)
    page = render_report(made_comparison(runs))
    assert "<img" not in page
    assert "left out here to keep this page small" in Page(page).words
    assert len(page) < 100_000


def test_a_perfect_method_has_no_mistakes_to_show():
    run = made_run("supervised", N - 1)
    perfect = dataclasses.replace(run, test_probabilities=np.eye(3)[run.test_labels], mistakes=[], test_accuracy=1.0)
    assert "surest mistakes" not in Page(render_report(made_comparison([perfect]))).words


def test_the_report_is_one_file(tmp_path, runs):
    path = write_report(made_comparison(runs), tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.stat().st_size < 5_000_000


def test_a_comparison_of_real_methods_ends_with_its_report(tmp_path):
    found = fewlabels.compare(
        "digits",
        methods=["supervised", "joint-autoencoder"],
        labels_per_class=5,
        steps=5,
        out=tmp_path / "run",
    )
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    for run in found.runs:
        assert f"{run.test_accuracy:.1%}" in page.words
    assert "Test images above, their reconstructions below" in page.words


def test_a_stopped_comparison_reports_what_was_finished(tmp_path):
    def stop_in_the_second(event):
        if event["run"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="1 of 2 trainings"):
        fewlabels.compare(
            "digits",
            methods=["supervised", "joint-autoencoder"],
            labels_per_class=5,
            steps=3,
            out=tmp_path / "run",
            observer=stop_in_the_second,
        )
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "supervised reaches" in page
    assert 'id="supervised"' in page
    assert 'id="joint-autoencoder"' not in page
