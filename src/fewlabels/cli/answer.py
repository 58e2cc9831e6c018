"""What a command found out: shown to a person, or printed as one JSON document."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import typer

from fewlabels.storage.errors import Interrupted, tell_kept
from fewlabels.storage.screen import standard_output

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Answer:
    """What a command found out.

    Attributes
    ----------
    facts : callable
        Returns them as a dict that JSON can hold; NaN and paths are seen to.
    show : callable
        Prints them for a person.
    code : int
        What the process exits with.
    unwritten : OSError, optional
        Why a file with the answer could not be written; raised once the answer, which would be lost, is shown.
    """

    facts: Callable[[], dict[str, Any]]
    show: Callable[[], None]
    code: int = 0
    unwritten: OSError | None = None


def answers(command: Callable[_P, Answer | None]) -> Callable[_P, None]:
    """Make a command, which has an option `as_json`, print its answer.

    With `--json` the document is all that comes on standard output: what anything else prints there, such as code of
    a net that was given, goes to standard error. A command that returns None leaves the answer to another process.
    """

    @functools.wraps(command)
    def run(*words: _P.args, **options: _P.kwargs) -> None:
        if options["as_json"]:
            out = standard_output()
            with contextlib.redirect_stdout(sys.stderr):
                answer = command(*words, **options)
                document = None if answer is None else _as_json(answer.facts())
            if document is not None:
                out.write(document + "\n")
                out.flush()
        else:
            answer = command(*words, **options)
            if answer is not None:
                answer.show()
        if answer is not None and answer.unwritten is not None:
            raise answer.unwritten
        if answer is not None and answer.code:
            raise typer.Exit(answer.code)

    return run


@contextlib.contextmanager
def keeping(kept: Callable[[], str | None], folder: Path | None = None) -> Iterator[None]:
    """Have what stops a command by Ctrl-C or SIGTERM, or a full disk, say what is kept of its work.

    Parameters
    ----------
    kept : callable
        Returns it in words, None where there is nothing yet.
    folder : Path, optional
        From which a training goes on with `--resume`.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if (what := kept()) is None:
            raise
        raise Interrupted(f"stopped; {what}", folder=folder) from stop
    except OSError as error:
        if (what := kept()) is not None:
            tell_kept(error, what, folder)
        raise


def _as_json(facts: dict[str, Any]) -> str:
    from fewlabels.storage.plain import plain

    return json.dumps(plain(facts))
