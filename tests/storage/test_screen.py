"""Where people read."""

import io

import pytest

from fewlabels.storage.screen import new_console, shows_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("50", 50)])
def test_a_width_of_zero_says_that_it_is_not_known(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    console = new_console(file=io.StringIO())
    assert console.width == width
    console.print("there")
    assert console.file.getvalue() == "there\n"


def test_no_bar_moves_in_a_file_though_color_is_asked_for(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert shows_progress(new_console(file=Terminal()))
    assert not shows_progress(new_console(file=io.StringIO()))
