import pytest

from fewlabels import InputError
from fewlabels.storage.engine import ray_cluster

pytest.importorskip("ray")


def test_a_cluster_that_is_not_to_be_had_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with (
        pytest.raises(InputError, match=r"no Ray cluster is to be had: .*nowhere; RAY_ADDRESS=HOST:PORT"),
        ray_cluster(),
    ):
        pass
