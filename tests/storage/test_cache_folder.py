"""Where caches go when nobody says."""

import sys
from pathlib import Path

import pytest

from fewlabels import InputError
from fewlabels.storage.cache_folder import cache_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have places of their own")


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch):
    monkeypatch.delenv("FEWLABELS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")


def test_an_empty_variable_names_no_folder():
    assert cache_folder() == Path.home() / ".cache" / "fewlabels"


def test_a_variable_that_names_no_absolute_path_is_ignored_as_its_specification_says(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "caches")
    assert cache_folder() == Path.home() / ".cache" / "fewlabels"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(InputError, match="set FEWLABELS_CACHE"):
        cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/fewlabels")


def test_a_home_that_no_shell_has_filled_in_is_the_users(monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", "~/caches")
    assert cache_folder() == Path.home() / "caches"
