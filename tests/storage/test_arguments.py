"""Arguments of another kind than expected are told in one line that names them."""

import numpy as np
import pytest

import fewlabels
from fewlabels import InputError, Supervised, TwoStepAutoencoder
from fewlabels.evaluation import evaluate_model
from fewlabels.export import export_model, predict_files

X, Y = np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fewlabels.compare(methods=[Supervised()]), "methods=.* is not a name"),
        (lambda: fewlabels.compare(methods=[Supervised]), "methods=.* is not a name"),
        (lambda: fewlabels.compare(methods=3), "methods=3 is not names of methods"),
        (lambda: fewlabels.compare(settings="learning_rate=0.1"), "settings='learning_rate=0.1' is not a dict"),
        (lambda: fewlabels.compare(settings=[1]), r"settings=\[1\] is not a dict"),
        (lambda: fewlabels.compare(choose=[1]), r"choose=\[1\] is not a dict"),
        (lambda: fewlabels.compare(vary=3), "vary=3 is not a list of labels"),
        (lambda: fewlabels.compare(track=3), "track=3 is not names of trackers"),
        (lambda: fewlabels.compare(on_finished=3), "on_finished=3 is not a function"),
        (lambda: fewlabels.compare(observer="print"), "observer='print' is not a function"),
        (lambda: fewlabels.check_dataset("my-photos"), "data='my-photos' is not a data set; .* fewlabels.load_dataset"),
        (lambda: evaluate_model(Supervised(), "digits"), "data='digits' is not a data set"),
        (lambda: evaluate_model("model", "digits"), "method='model' is not a fitted method; .* fewlabels.load"),
        (lambda: fewlabels.describe_pool("model"), "model='model' is not a fitted method; .* fewlabels.load"),
        (lambda: fewlabels.describe_pool(Supervised(), count=1.5), "count=1.5 is not a whole number of at least 1"),
        (lambda: fewlabels.first_to_label("digits", count=None), "count=None is not a whole number of at least 1"),
        (lambda: fewlabels.load_dataset("digits", test_per_class="5"), "test_per_class='5' is not a whole number"),
        (lambda: fewlabels.rank_for_labeling(None, np.eye(3), count="5"), "count='5' is not a whole number"),
        (lambda: export_model("model", "model.onnx"), "method='model' is not a fitted method; .* fewlabels.load"),
        (lambda: predict_files("model", "a.png"), "model='model' is not a fitted method; .* fewlabels.load"),
        (lambda: Supervised(random_state=-1).check_settings(), "random_state=-1 is not a whole number"),
        (lambda: Supervised(random_state="0").check_settings(), "random_state='0' is not a whole number"),
        (lambda: Supervised(weight_decay=True).check_settings(), "weight_decay=True is not a number"),
        (lambda: TwoStepAutoencoder(sigma=True).check_settings(), "sigma=True is not a number"),
        (lambda: Supervised(learning_rate=np.ones(2)).check_settings(), "learning_rate is of the type ndarray"),
        (lambda: Supervised(view=b"weak").check_settings(), "view=b'weak' is no text"),
        (lambda: Supervised(shift=b"1").check_settings(), "shift is of the type bytes"),
        (lambda: Supervised(momentum=len).check_settings(), "momentum is of the type builtin_function_or_method"),
        (lambda: Supervised().fit(None, Y), "X is of the type NoneType; expected an array"),
        (lambda: Supervised().fit({"a": 1}, Y), "X is of the type dict; expected an array"),
    ],
)
def test_an_argument_of_another_kind_is_named(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_fitted_model_outlives_a_wrong_observer_and_tells_which_weights_it_has():
    method = Supervised(steps=1, random_state=0).fit(X, Y)
    with pytest.raises(InputError, match="observer='print' is not a function to call, or None"):
        method.fit(X, Y, observer="print")
    assert len(method.predict(X)) == 4
    with pytest.raises(InputError, match=r"weights=None is not one of .*last"):
        method.with_weights(None)
