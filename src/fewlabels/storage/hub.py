"""The Hugging Face Hub as a place for folders: addresses, uploads that are all or nothing, and errors in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fewlabels.storage.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hub:"
# What the Hub allows in the name of an owner and of a model.
_PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_LONGEST_NAME = 96
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAddress:
    """Where something is on the Hub.

    Attributes
    ----------
    name : str
        OWNER/NAME.
    revision : str or None
        A branch, tag or commit; None: the main branch.

    Examples
    --------
    >>> HubAddress.parse("hub:jane/birds@v2")
    HubAddress(name='jane/birds', revision='v2')
    >>> print(HubAddress.parse("jane/birds"))
    hub:jane/birds
    """

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> Self:
        """Read `OWNER/NAME` or `hub:OWNER/NAME`, each with `@REVISION` or without.

        Raises
        ------
        InputError
            If it is no such address, or names two revisions.
        """
        name, at, behind = text.removeprefix(PREFIX).partition("@")
        if (
            not _NAME.fullmatch(name)
            or len(name) > _LONGEST_NAME
            or any(part in name for part in ("--", ".."))
            or name.endswith(".git")
        ):
            raise InputError(
                f"{text!r} is no name of a model on the Hub; expected OWNER/NAME, of letters, digits, -, _ and ., "
                "such as jane/birds"
            )
        if at and (not behind or (revision is not None and revision != behind)):
            raise InputError(f"{text!r} names no revision, or another one than --revision; give it once")
        return cls(name, behind or revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}" + (f"@{self.revision}" if self.revision else "")


def is_hub_address(text: object) -> bool:
    """Return whether a place is meant on the Hub: it begins with ``hub:``."""
    return str(text).startswith(PREFIX)


def hub_api() -> HfApi:
    """Return the client of the Hub that `$HF_ENDPOINT` names, or of huggingface.co.

    Raises
    ------
    InputError
        If huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise InputError("the Hub needs huggingface_hub: pip install 'fewlabels[hub]'") from error
    return HfApi(library_name="fewlabels")


def download_file(address: HubAddress, file: str) -> Path:
    """Fetch a file into the Hub's own cache, unless it is there; a broken download is continued.

    Parameters
    ----------
    address : HubAddress
        With a commit as its revision nothing is asked for that is there already.
    file : str
        Its name.

    Returns
    -------
    Path
        Its folder is named by the commit that it comes from.

    Raises
    ------
    InputError
        If there is no such model, revision or network, or it may not be read.
    FileNotFoundError
        If there is no such file.
    """
    api = hub_api()
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    missing: Exception | None = None
    with reached(address):
        fixed = _COMMIT.fullmatch(address.revision or "")
        known = try_to_load_from_cache(address.name, file, revision=address.revision) if fixed else None
        if known is None:
            # What a Hub that answers says of it is told by the download, which asks again where it stumbles.
            with contextlib.suppress(HfHubHTTPError):
                _ask_once(address.name, file, address.revision)
        try:
            if known is not _CACHED_NO_EXIST:
                return Path(api.hf_hub_download(address.name, file, revision=address.revision))
        except RemoteEntryNotFoundError as error:
            missing = error
    raise FileNotFoundError(f"{address} has no {file}") from missing


def check_reachable(name: str, file: str) -> None:
    """Ask the Hub once for a file that its cache lacks: other libraries would ask again and again, for half a minute.

    Parameters
    ----------
    name : str
        Of the repository, as it stands in an address of the Hub.
    file : str
        One that it has.

    Raises
    ------
    InputError
        If there is no network or no such repository, or it may not be read.
    """
    from huggingface_hub import errors

    with reached(HubAddress(name)), contextlib.suppress(errors.HFValidationError, errors.EntryNotFoundError):
        _ask_once(name, file)


def _ask_once(name: str, file: str, revision: str | None = None) -> None:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if not constants.HF_HUB_OFFLINE and not isinstance(try_to_load_from_cache(name, file, revision=revision), str):
        get_hf_file_metadata(hf_hub_url(name, file, revision=revision), timeout=constants.HF_HUB_ETAG_TIMEOUT)


def forget_file(path: Path) -> None:
    """Take a file that `download_file` gave out of the cache, so that it is fetched anew."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def upload_files(
    address: HubAddress, files: dict[str, Path | bytes], *, replaced: Callable[[str], bool], private: bool, message: str
) -> str:
    """Put files into a repository in one commit: whoever reads it sees all of them or none.

    Parameters
    ----------
    address : HubAddress
        The repository is made where it is missing, and so is the branch that its revision names.
    files : dict
        Path or content, by name.
    replaced : callable
        Whether a file of this name is taken away where it is not among `files`.
    private : bool
        Only for the owner. A repository that exists and is public is left alone.
    message : str
        Of the commit.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    InputError
        If there is no token, no network, no right to write, or the Hub refuses; nothing is seen of the files then.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token

    api = hub_api()
    if _COMMIT.fullmatch(address.revision or ""):
        raise InputError(f"{address.revision} is a commit, which nothing can be added to; give a branch")
    if get_token() is None:
        raise InputError(
            "no token for the Hub: make one with the right to write in its settings, then `hf auth login`, "
            "or set HF_TOKEN"
        )
    with reached(address, writing=True):
        api.create_repo(address.name, private=private or None, exist_ok=True)
        info = api.model_info(address.name)
        if private and not info.private:
            raise InputError(
                f"{address.name} exists and is public, so nothing was uploaded; make it private in its settings, or "
                "give another name"
            )
        if address.revision is not None:
            api.create_branch(address.name, branch=address.revision, exist_ok=True)
            info = api.model_info(address.name, revision=address.revision)
        present = [sibling.rfilename for sibling in info.siblings or []]
        operations: list[Any] = [
            CommitOperationDelete(path_in_repo=name) for name in present if name not in files and replaced(name)
        ]
        operations += [CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(
            address.name,
            operations,
            commit_message=message,
            revision=address.revision,
            # Somebody else's commit in between is not undone by this one.
            parent_commit=info.sha,
        )
    return str(commit.commit_url)


@contextlib.contextmanager
def progress_bars(shown: bool) -> Iterator[None]:
    """Show or hide the Hub's progress bars for the length of a block."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def reached(address: HubAddress, *, writing: bool = False) -> Iterator[None]:
    """Turn what goes wrong with the Hub into an error of one line; those of the disk stay as they are."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = _innermost(error)
        if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ConnectionError):
            raise
        raise InputError(_explained(cause, address, writing)) from error


def _innermost(error: BaseException) -> BaseException:
    """Return what the Hub's client wraps in errors of its own that say less."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, RuntimeError | LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _explained(error: BaseException, address: HubAddress, writing: bool) -> str:
    from huggingface_hub import constants, errors

    place = constants.ENDPOINT.partition("://")[2]
    if isinstance(error, errors.OfflineModeIsEnabled):
        if writing:
            return f"HF_HUB_OFFLINE forbids to send anything to {address}; unset it"
        return f"{address} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; unset it"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{address.name} on {place} has no branch, tag or commit {address.revision or 'main'!r}"
    again = "run the same command again" + ("; what has arrived is not sent twice" if writing else "")
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    if isinstance(error, errors.GatedRepoError):
        return f"{address.name} is only for people whom its owner has let in; ask for that on its page on {place}"
    if isinstance(error, errors.RepositoryNotFoundError) and not writing:
        return (
            f"there is no model {address.name} on {place}, or it is private: look at the name, or log in with a token "
            "that may read it (`hf auth login`, or HF_TOKEN)"
        )
    if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{place} does not let this token {'write to' if writing else 'read'} {address.name}; log in with one "
            "that may (`hf auth login`, or HF_TOKEN)"
        )
    if status == 412:
        return f"somebody else changed {address.name} in the meantime, and nothing of this was written; {again}"
    if status == 429:
        return f"{place} has had too many requests from here; wait a few minutes, then {again}"
    if status >= 500:
        return f"{place} has trouble of its own (it answered {status}); later, {again}"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if status or isinstance(error, ValueError):
        message = str(error).replace("\n", " ").strip() or type(error).__name__
        return f"{place} and this fewlabels do not understand each other on {address}: {message[:300]}"
    return f"{place} cannot be reached for {address} ({first[:200]}); check the network, then {again}"
