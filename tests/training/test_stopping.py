import signal

import pytest

from fewlabels.training import stopping
from fewlabels.training.stopping import StopSignals


def test_the_second_signal_stops_at_once():
    with StopSignals() as stop, stop.deferred():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert stop.insisted


def test_what_a_launcher_sends_on_is_no_second_signal(monkeypatch):
    with StopSignals(forwarded=True) as stop, stop.deferred():
        # It came to another process first.
        stop.take(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert not stop.insisted
        monkeypatch.setattr(stopping, "_FORWARDING", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert not stop.insisted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.insisted
