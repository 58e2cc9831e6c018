"""What a comparison promises: test images reach no training, seeds vary what they should, choices are told."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from fewlabels import InputError, compare, load_dataset
from fewlabels.data.rows import ImageRows
from fewlabels.evaluation import training as training_module
from fewlabels.evaluation.reading import read_comparison
from small_backbones import Colors

pytestmark = pytest.mark.usefixtures("narrow_net")

METHODS = ["supervised", "self-training", "two-step-autoencoder", "fix-match"]
TINY = {"labels_per_class": 5, "steps": 4}


def small_digits(labels_per_class=5):
    """Fewer of them, which take less time to classify, and no test here looks at how well."""
    data = load_dataset("digits", labels_per_class=labels_per_class)
    rows = np.arange(150)
    diagnostics = dataclasses.replace(data.diagnostics, pool_labels=data.diagnostics.pool_labels[rows])
    less = {"pool": data.pool.take(rows), "test": data.test.take(rows), "test_labels": data.test_labels[rows]}
    return dataclasses.replace(data, **less, diagnostics=diagnostics)


def weights_of(found):
    return {path.parent.name: load_file(path) for path in sorted((found.folder / "models").glob("*/model.safetensors"))}


def test_other_test_images_leave_every_trained_weight_as_it_is(tmp_path):
    data = small_digits()
    draws = np.random.default_rng(0)
    noise = ImageRows(draws.integers(0, 256, data.test.shape).astype(np.uint8))
    other = dataclasses.replace(data, test=noise, test_labels=draws.permutation(data.test_labels))
    more = {"methods": METHODS, "steps": 4, "settings": {"guard": True, "assess_pool": True}, "check": False}
    one, two = (weights_of(compare(d, out=tmp_path / name, **more)) for name, d in (("one", data), ("two", other)))
    assert set(one) == set(two)
    assert len(one) == len(METHODS)
    for model, tensors in one.items():
        for name, value in tensors.items():
            assert np.array_equal(value, two[model][name]), (model, name)


def test_test_images_are_first_read_when_the_model_is_final(tmp_path, monkeypatch):
    reads, fitting = [], []

    class Watched(ImageRows):
        def __getitem__(self, index):
            reads.append(bool(fitting))
            return super().__getitem__(index)

        def take(self, rows):
            return Watched(self.array, rows if self.rows is None else self.rows[rows])

    data = small_digits()
    watched = dataclasses.replace(data, test=Watched(data.test.array, data.test.rows))
    fit = training_module.fit_dataset

    def spy(*arguments, **options):
        fitting.append(True)
        fit(*arguments, **options)
        fitting.clear()

    monkeypatch.setattr(training_module, "fit_dataset", spy)
    compare(watched, methods=["supervised", "self-training"], steps=2, check=False, out=tmp_path / "run")
    assert reads
    assert not any(reads)


@pytest.mark.parametrize(
    ("vary", "labels", "weights", "order"),
    [
        (("labels", "weights", "order"), True, True, True),
        ("labels", True, False, False),
        ("weights", False, True, False),
        ("order", False, False, True),
        (("weights", "order"), False, True, True),
    ],
)
def test_what_differs_from_seed_to_seed_is_what_was_asked_for(vary, labels, weights, order, tmp_path, monkeypatch):
    seen = []

    def record(method, data, *, observer, **_):
        def of(value):
            return method.random_state if value is None else value

        seen.append((data.labeled.rows.tolist(), of(method.weights_seed), of(method.order_seed)))
        method.fit(data.labeled, data.labels, observer=observer)

    monkeypatch.setattr(training_module, "fit_dataset", record)
    found = compare(
        "digits", methods=["supervised", "uda"], seeds=2, vary=vary, labels_per_class=3, steps=1, out=tmp_path / "run"
    )
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert [a != b for a, b in zip(seen[0], seen[2], strict=True)] == [labels, weights, order]
    said = f" --vary {vary if isinstance(vary, str) else ','.join(vary)}"
    assert (said in found.config["command"]) == (vary != ("labels", "weights", "order"))


def test_seeds_of_a_data_set_that_was_read_before_share_its_labels_and_that_is_told(tmp_path):
    more = {"methods": ["supervised", "prototypes"], "seeds": 3, "steps": 1, "check": False}
    found = compare(small_digits(), out=tmp_path / "run", **more)
    told = "All seeds have the same labels: another draw of labels may turn small differences around."
    assert told in found.verdicts()
    assert told in (tmp_path / "run" / "report.html").read_text()
    drawn = compare("digits", labels_per_class=3, out=tmp_path / "drawn", **more)
    assert told not in drawn.verdicts()


def test_fewer_labels_are_among_the_more(tmp_path, monkeypatch):
    drawn = {}

    def record(method, data, *, observer, **_):
        drawn[method.random_state, data.labels_per_class] = set(data.labeled.rows.tolist())
        method.fit(data.labeled, data.labels, observer=observer)

    monkeypatch.setattr(training_module, "fit_dataset", record)
    compare("digits", methods=["supervised"], labels_per_class=[3, 6, 12], seeds=2, steps=1, out=tmp_path / "run")
    for seed in (0, 1):
        assert drawn[seed, 3] < drawn[seed, 6] < drawn[seed, 12]
    assert drawn[0, 12] != drawn[1, 12]


def test_what_cannot_vary_is_refused(tmp_path):
    with pytest.raises(InputError, match="vary='wieghts' is none of labels, weights, order; did you mean 'weights'"):
        compare("digits", vary=["wieghts"], out=tmp_path / "run")
    with pytest.raises(InputError, match="give seeds and vary itself"):
        compare("digits", settings={"order_seed": 3}, out=tmp_path / "run")


def test_a_run_tells_its_choices_its_weights_and_how_far_to_trust_it(tmp_path):
    more = {"methods": ["self-training"], "settings": {"ema_decay": 0.8, "guard": True}, "out": tmp_path / "run"}
    found = compare("digits", **{**TINY, "labels_per_class": 20}, **more)
    run = json.loads((tmp_path / "run" / "results.json").read_text())["runs"][0]
    looked = {row["choice"]: row["looked_at"] for row in run["choices"]}
    assert looked["optimizer steps"] == "nothing: it was fixed before"
    assert looked["weights to predict with"] == "nothing: it was fixed before"
    assert looked["rounds of self-training"] == looked["weights that the guard took"] == "20 held-out images"
    used = [row for row in run["weights"] if row["used"]]
    assert [row["test_accuracy"] for row in used] == [found.runs[0].test_accuracy]
    assert {row["name"] for row in run["weights"]} == {"last", "best-on-validation", "average"}
    sets = run["trust"]["sets"]
    assert [one["held_out"] for one in sets] == [20, 20, 20]
    assert 0 <= run["trust"]["calibration_error"] <= 1


def test_without_held_out_images_no_choice_is_said_to_have_looked_at_them(tmp_path):
    more = {"methods": ["self-training"], "settings": {"validation_fraction": 0}, "out": tmp_path / "run"}
    run = compare("digits", **TINY, **more).runs[0]
    looked = {row["choice"]: row["looked_at"] for row in run.choices}
    assert looked["rounds of self-training"] == "nothing: no images were held out"


def test_a_penalty_is_among_the_choices_with_what_it_was_chosen_on(tmp_path):
    settings = {"centroids": 16, "patch": 3, "patches": 1000}
    methods = ["linear-probe", "kmeans-features"]
    runs = compare("digits", methods=methods, **TINY, settings=settings, out=tmp_path / "run").runs
    rows = [next(row for row in run.choices if row["choice"] == "penalty of the linear classifier") for run in runs]
    assert all(float(row["result"]) > 0 for row in rows)
    assert rows[0]["looked_at"].startswith("folds of the labeled images")
    assert rows[1]["looked_at"].endswith("held-out images")
    # The probe's probabilities are calibrated on its folds too, the other's on what was held out alone.
    looked = [next(row for row in run.choices if row["choice"].startswith("temperature"))["looked_at"] for run in runs]
    assert looked[0] == f"the labeled images learned from, each left out in turn, and {looked[1]}"


def test_a_penalty_is_told_of_what_auto_took_and_of_a_given_one(color_images, tmp_path):
    X, y = color_images
    source = {"train": (X[:30], y[:30]), "test": (X[30:], y[30:])}
    options = {"net": Colors(), "check": False, "cache_dir": tmp_path / "cache"}
    chosen = compare(source, methods=["auto"], out=tmp_path / "auto", **options).runs[0].choices
    given = compare(
        source, methods=["linear-probe"], settings={"penalty": 0.1}, out=tmp_path / "given", **options
    ).runs[0]
    assert [row["result"] for row in chosen if row["choice"] == "method"] == ["linear-probe"]
    (penalty,) = [row for row in chosen if row["choice"].startswith("penalty")]
    assert penalty["looked_at"].startswith("folds of the labeled images")
    (penalty,) = [row for row in given.choices if row["choice"].startswith("penalty")]
    assert penalty == penalty | {"result": "0.1", "looked_at": "nothing: it was fixed before"}


def test_the_method_that_auto_takes_is_among_its_choices(tmp_path):
    run = compare("digits", methods=["auto"], **TINY, out=tmp_path / "run").runs[0]
    first = run.choices[0]
    assert first["choice"] == "method"
    assert first["looked_at"].startswith("the numbers of labels, classes and pool images")


def test_what_the_check_found_is_kept_with_the_comparison(tmp_path):
    data = small_digits()
    leaky = dataclasses.replace(data, test=data.labeled, test_labels=data.labels)
    found = compare(leaky, methods=["supervised"], steps=1, out=tmp_path / "run")
    kinds = [finding["kind"] for finding in found.config["check"]["findings"]]
    assert kinds[0] == "exact-copies"
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.index("50 of 50 test images (100.0%) are also among the labeled images") < page.index('"verdict"')
    assert compare(leaky, methods=["supervised"], steps=1, check=False, out=tmp_path / "no").config["check"] is None


def test_what_learns_from_features_is_checked_by_the_images_that_they_are_made_of(color_images, tmp_path):
    X, y = color_images
    leaky = {"train": (X[:30], y[:30]), "test": (X[4:14], y[4:14])}
    options = {"net": Colors(), "labels_per_class": 4, "cache_dir": tmp_path / "cache"}
    found = compare(leaky, methods=["linear-probe"], out=tmp_path / "run", **options)
    texts = [finding["text"] for finding in found.config["check"]["findings"]]
    # Some test images are copies of labeled ones, the others of those whose labels were not drawn.
    labeled = load_dataset(leaky, labels_per_class=4).labeled[:]
    copies = sum(any(np.array_equal(one, other) for other in labeled) for one in X[4:14])
    assert 0 < copies < 10
    assert texts[0].startswith(f"{copies} of 10 test images ({copies / 10:.1%}) are also among the labeled images")
    assert not any("holds features" in text for text in texts)


def test_labels_given_by_hand_are_told_apart_from_those_drawn(tmp_path):
    data = load_dataset("digits", labels_per_class=10)
    named = zip(list(data.pool_names)[:30], data.diagnostics.pool_labels, strict=False)
    (tmp_path / "labels.csv").write_text("file,class\n" + "".join(f"{name},{label}\n" for name, label in named))
    more = {"methods": ["prototypes"], "labels_per_class": [2, 5], "check": False}
    found = compare("digits", labels=tmp_path / "labels.csv", out=tmp_path / "run", **more)
    assert [draw["labeled"] for draw in found.config["data"].values()] == [50, 80]
    assert [draw["labels_given"] for draw in found.config["data"].values()] == [30, 30]
    assert [line.partition("with ")[2] for line in found.verdicts()] == [
        "2 labels per class and 30 given by hand.",
        "5 labels per class and 30 given by hand.",
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Accuracy with 5 labels per class and 30 given by hand" in page
    assert "Test accuracy by labels per class" not in page
    again = read_comparison(tmp_path / "run")
    assert (again.verdicts(), again.to_dict()["runs"][0]["labels_given"]) == (found.verdicts(), 30)


def test_hyper_parameters_are_chosen_by_held_out_labels_and_one_model_meets_the_test_images(tmp_path, monkeypatch):
    measured = []
    measure = training_module.measure

    def spy(name, method, *arguments, **more):
        measured.append((name, method.learning_rate))
        return measure(name, method, *arguments, **more)

    monkeypatch.setattr(training_module, "measure", spy)
    found = compare(
        "digits",
        methods=["supervised", "kmeans-features"],
        labels_per_class=20,
        steps=12,
        choose={"learning_rate": [0.0001, 0.2]},
        settings={"centroids": 16, "patches": 1000},
        out=tmp_path / "run",
    )
    tried = found.runs[0].tried
    assert [row["settings"] for row in tried] == [{"learning_rate": 0.0001}, {"learning_rate": 0.2}]
    assert tried[1]["validation_accuracy"] > tried[0]["validation_accuracy"]
    assert [row["used"] for row in tried] == [False, True]
    # What both took is known, and not that of the one that was taken alone.
    assert found.runs[0].spent("fit_seconds") == sum(row["fit_seconds"] for row in tried) > found.runs[0].fit_seconds
    assert found.runs[0].spent("gradient_images") == 2 * found.runs[0].gradient_images
    assert [rate for name, rate in measured if name == "supervised"] == [0.2]
    assert len(measured) == 2
    assert found.runs[0].choices[-1] == {
        "choice": "hyper-parameters",
        "result": "learning_rate 0.2, of 2 combinations",
        "looked_at": "20 held-out images",
    }
    assert "--choose 'learning_rate=[0.0001, 0.2]'" in found.config["command"]
    assert "Hyper-parameters that were tried" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "checkpoints").exists()
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = {name: {event.get("tried") for event in events if event["method"] == name} for name, _ in measured}
    assert told["supervised"] == {0, 1}


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        ({"learning_rate": [0.1]}, "two values or more"),
        ({"learning_rate": 0.1}, "two values or more"),
        ({"lerning_rate": [0.1, 0.2]}, "did you mean 'learning_rate'"),
        ({"dropout": [0.1, 2]}, "dropout=2"),
        ({"final_weights": "[last,average]"}, 'or of text ."one", "other". with these quotation marks'),
    ],
)
def test_a_choice_that_is_none_is_refused(choose, message, tmp_path):
    with pytest.raises(InputError, match=message):
        compare("digits", methods=["supervised"], choose=choose, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_labels_to_choose_by_are_told_before_anything_is_trained(tmp_path):
    def trained(event):
        raise AssertionError("a training began")

    with pytest.raises(InputError, match="no images are held out to choose hyper-parameters by"):
        compare("digits", methods="supervised", steps=2, choose={"validation_fraction": [0.2, 0.0]}, observer=trained)
    for sizes in (1, [50, 1]):
        with pytest.raises(InputError, match="no images are held out to choose hyper-parameters by"):
            compare(
                "digits",
                methods=["prototypes", "supervised"],
                labels_per_class=sizes,
                steps=2,
                choose={"dropout": [0.0, 0.1]},
                check=False,
                observer=trained,
                out=tmp_path / "run",
            )
