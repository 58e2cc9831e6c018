"""From words typed to a command, and from an error to one line and an exit code."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import typer

from fewlabels.cli.app import app, errors, screen, warn
from fewlabels.config_file import NAME as CONFIG_NAME
from fewlabels.config_file import read_config
from fewlabels.storage.cache_folder import cache_folder
from fewlabels.storage.errors import InputError, Interrupted, ToldError, TrainingWarning
from fewlabels.storage.launch import Launch
from fewlabels.storage.visible import visible

_FOR_THE_FIRST = 10.0  # seconds

# Typer brings Click's exceptions under its own name; this is the one all usage errors derive from.
_UsageError: Any = typer.BadParameter.__mro__[1]
_INTERRUPTED, _ENDED = 130, 143
# Of a folder that cannot be written to, lies in what is none, or cannot be made.
_NO_PLACE = {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}
_STOPPED = "stopped; nothing was written"
# What pathlib says, by Typer too, where neither HOME nor the list of users tells.
_HOMELESS = "Could not determine home directory"


def main() -> None:
    """Run the command line; what a user can mend is one line on standard error, never a traceback."""
    warnings.simplefilter("always", TrainingWarning)
    warnings.showwarning = _show_warning
    if isinstance(sys.stdout, io.TextIOWrapper):
        # In the rows of `predict`, names of files are printed byte by byte as they are, though some be no text; where
        # the encoding has not all characters, as that of a pipe on Windows, those are written out.
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    typed: list[str] = []
    defaults: dict[str, dict[str, Any]] = {}
    ended: list[int] = []
    try:
        # Several processes are ended together by what launched them, and the first alone speaks.
        if not Launch.read().is_one_of_several:
            _end_by_sigterm(ended)
        _check_folder()
        _check_words(sys.argv[1:])
        _among_several(Launch.read())
        # A shell that asks what could come next is told, whatever the file says.
        typed = [word.partition("=")[0].removeprefix("--") for word in sys.argv[1:] if word.startswith("--")]
        defaults = {} if "_FEWLABELS_COMPLETE" in os.environ else read_config(Path(), _options(), typed)
        # By this name the shell calls it, also where Python was told to run the package.
        code = app(standalone_mode=False, default_map=defaults, prog_name="fewlabels")
        if code == _INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
            raise KeyboardInterrupt
    except ToldError:
        sys.exit(2)
    except InputError as error:
        if Launch.read().rank > 0:
            # The launcher ends all processes as soon as one fails: the first is to have spoken by then.
            time.sleep(_FOR_THE_FIRST)
        begin = _where_it_stands(str(error), defaults)
        _fail(f"{begin}{error}{'' if begin else _not_typed(defaults, typed)}{_kept(error)}", 2)
    except _UsageError as error:
        message = f"{_asked_by(error, defaults, typed)}{error.format_message()}"
        # Without a command the help was shown, and there is no more to say.
        if not message:
            sys.exit(2)
        _fail(message, 2)
    except Interrupted as stop:
        if Launch.read().rank > 0:
            sys.exit(stop.code)
        _fail(f"{stop}{_to_go_on(stop.folder)}", _ENDED if ended else stop.code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_STOPPED, _ENDED if ended else _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except (RuntimeError, MemoryError) as error:
        # Python 3.11 wraps what is raised while a class is being made.
        if isinstance(error.__cause__, KeyboardInterrupt):
            _fail(_STOPPED, _ENDED if ended else _INTERRUPTED)
        if str(error).startswith(_HOMELESS):
            _fail("no home folder of this user is known; set HOME to a folder", 2)
        if not _ran_out_of_memory(error):
            raise
        _fail("memory ran out; close other programs, or take a smaller net, smaller images or fewer of them", 1)
    except OSError as error:
        # Files are named by what writes them; what is left is what the command prints to.
        place = error.filename or ("standard output" if error.errno == errno.ENOSPC else None)
        what = f"{error.strerror or error}: {place}" if place else str(error)
        _fail(f"{what}{_another_cache(error)}{_kept(error)}", 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def command() -> None:
    """Run `main` as all that a process does: once it has said how it ended, no further signal disturbs its end."""
    try:
        main()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _another_cache(error: OSError) -> str:
    """Return the end of a message where it is the folder of caches that cannot be written to."""
    if error.errno not in _NO_PLACE or error.filename is None:
        return ""
    with contextlib.suppress(InputError, TypeError):
        cache, place = cache_folder(), Path(error.filename)
        if place in (cache, *cache.parents) or cache in place.parents:
            return "; set FEWLABELS_CACHE to a folder that can be written to"
    return ""


def _end_by_sigterm(came: list[int]) -> None:
    """Have SIGTERM end the command as Ctrl-C does, with what is temporary removed; the list is told when it came."""

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        raise KeyboardInterrupt

    # Elsewhere than in the main thread Python delivers no signals.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _asked_by(error: _UsageError, defaults: Mapping[str, Mapping[str, Any]], typed: Collection[str]) -> str:
    """Return the beginning of a message where a value that cannot be used is none that was typed."""
    param, command = getattr(error, "param", None), "" if error.ctx is None else error.ctx.info_name or ""
    if param is None or param.name not in defaults.get(command, {}):
        return ""
    return "" if any(option.lstrip("-") in typed for option in param.opts) else f"{CONFIG_NAME}: "


def _where_it_stands(message: str, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the beginning of a message about a value that was not typed, but is in the file with defaults."""
    values = defaults.get("".join(sys.argv[1:2]), {}).values()
    lists = [value if isinstance(value, list | tuple) else [value] for value in values]
    words = {word for some in lists for one in some if isinstance(one, str) for word in one.split(",")}
    typed = {part for word in sys.argv[1:] for part in re.split("[,=]", word)}
    # What comes after it may be a suggestion.
    asked = re.search("'(.*?)'", message)
    return f"{CONFIG_NAME}: " if asked and asked[1] in words - typed else ""


def _not_typed(defaults: Mapping[str, Mapping[str, Any]], typed: Collection[str]) -> str:
    """Return the end of a message where options were not typed, but are in the file: one may be what is wrong."""
    command = "".join(sys.argv[1:2])
    given = defaults.get(command, {})
    names = [] if not given else [name for name, of in _options(arguments=False)[command].items() if of in given]
    found = [name for name in names if name not in typed]
    return f" (from {CONFIG_NAME}: {', '.join(found)})" if found else ""


def _check_folder() -> None:
    """Refuse to work in a folder that was removed: there PyTorch would end the process as it is imported."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the folder that you work in is gone; cd to another") from error


def _check_words(words: list[str]) -> None:
    """Refuse an empty word: as a path it would be the current folder, and it is hardly ever meant."""
    options = True
    for number, word in enumerate(words):
        options = options and word != "--"
        name, equals, value = word.partition("=")
        if not word or (options and name.startswith("--") and equals and not value):
            typed = shlex.join(["fewlabels", *words[:number], *([name] if name else [])])
            raise InputError(f"there is nothing after {typed}: is a variable of the shell unset?")


def _among_several(launch: Launch) -> None:
    """Let the first of several processes speak alone, except of errors, and refuse what several cannot divide."""
    if not launch.is_one_of_several:
        return
    if launch.rank > 0:
        screen.quiet = True
        warnings.simplefilter("ignore")
        errors.quiet = sys.argv[1:2] != ["fit"]
    if sys.argv[1:2] != ["fit"]:
        raise InputError(
            f"fewlabels {shlex.join(sys.argv[1:2])} runs in one process, and {launch.count} were started; leave "
            "torchrun or accelerate launch out: fit alone is divided among several"
        )


def _ran_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    try:
        from fewlabels.training.memory import ran_out_of_memory
    except Exception as second:  # the first error says more than that PyTorch cannot be imported after it
        return isinstance(second, MemoryError)
    return ran_out_of_memory(error)


def _kept(error: Exception) -> str:
    """Return the end of a message about an error that ends work of which something is kept."""
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ())) + _to_go_on(getattr(error, "folder", None))


def _to_go_on(folder: Path | None) -> str:
    if folder is None:
        return ""
    if Launch.read().is_one_of_several:
        return "; to go on, give the same command with --resume"
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    if words[:1] == ["compare"] and not any(word.split("=")[0] == "--out" for word in words):
        words += ["--out", str(folder)]
    return f"; to go on: {shlex.join(['fewlabels', *words, '--resume'])}"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    warn(f"warning: {message}")


def _options(*, arguments: bool = True) -> dict[str, dict[str, str]]:
    """Return for each command its options as typed, without dashes, and what its function calls them.

    An argument such as SOURCE is given by its name. POOL of `label` is none of them: it is not what `fit --pool` takes.
    """
    group: Any = typer.main.get_command(app)
    return {
        name: {
            max(parameter.opts, key=len).lstrip("-"): parameter.name
            for parameter in command.params
            if parameter.name != "help"
            and (arguments or parameter.param_type_name == "option")
            and (name, parameter.name) != ("label", "pool")
        }
        for name, command in group.commands.items()
    }


def _fail(message: str, code: int) -> None:
    launch = Launch.read()
    who = f"process {launch.rank}: " if launch.rank > 0 else ""
    errors.print("error: ", style="red", end="")
    errors.print(visible(" ".join(line.strip() for line in (who + message).splitlines())), highlight=False)
    sys.exit(code)
