"""What a fit chose for itself: an image is said to have been looked at where it was."""

import pytest

from fewlabels import make_method
from fewlabels.methods.choices import choices

pytestmark = pytest.mark.usefixtures("narrow_net")


@pytest.mark.parametrize(
    ("name", "settings", "vectors", "looked"),
    [
        ("self-training", {}, False, "held-out images"),
        ("self-training", {"restart": False}, False, "nothing: it was fixed before"),
        ("self-training", {"preset": "notebook", "rounds": 2, "threshold": 0.0}, False, "nothing: it was fixed before"),
        ("ensemble-labels", {}, False, "held-out images"),
        ("ensemble-labels", {}, True, "nothing: it was fixed before"),
    ],
)
def test_rounds_looked_at_held_out_images_where_one_could_be_thrown_away(name, settings, vectors, looked, few_labels):
    X, y, *_ = few_labels
    method = make_method(name, steps=4, batch_size=16, random_state=0, **settings)
    method.fit(X.reshape(len(X), -1) if vectors else X, y)
    assert method.rounds_
    (row,) = [row for row in choices(method) if row["choice"] == "rounds of self-training"]
    assert row["looked_at"].endswith(looked)
