"""Models on the Hugging Face Hub: what leaves this machine, and what is looked at before it is let in."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from fewlabels.methods.card import PLACE, checksum
from fewlabels.methods.saved import is_ours, load
from fewlabels.nets.pretrained import MODULE, is_own_code
from fewlabels.nets.provenance import folder_of
from fewlabels.storage.atomic import atomic_folder, check_writable
from fewlabels.storage.errors import InputError
from fewlabels.storage.hub import HubAddress, download_file, forget_file, hub_api, progress_bars, upload_files
from fewlabels.storage.model_folder import (
    CARD,
    CONFIG,
    EXAMPLES,
    is_weights,
    model_files,
    parse_description,
    read_description,
    weight_files,
)


def push(
    model: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    with_examples: bool = False,
    progress: bool = False,
) -> str:
    """Put a saved model on the Hugging Face Hub.

    Only the model's own files go: weights (safetensors), description (JSON) and card, each checked first. The labeled
    images that a model folder may keep stay here unless asked for, and where on this machine its data lie is taken out
    of the description. All arrive in one commit, or nothing is seen of
    them; what has arrived of a push that was cut off is not sent again.

    Parameters
    ----------
    model : str or Path
        Folder that `save`, `fewlabels fit` or `fewlabels compare` wrote.
    name : str
        OWNER/NAME, with `@REVISION` or without. Is made where it is missing.
    private : bool
        Only the owner sees it.
    revision : str, optional
        A branch; the main one when not given.
    with_examples : bool
        Also push `examples.safetensors`, the labeled images that the model keeps.
    progress : bool
        Show progress bars.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    InputError
        If the folder holds no whole model, the name is none, there is no token or no network, or the Hub refuses.

    Examples
    --------
    >>> push("no-such-folder", "jane/birds")
    Traceback (most recent call last):
    fewlabels.storage.errors.InputError: there is no model folder at no-such-folder
    """
    hub_api()
    folder = Path(model)
    address = HubAddress.parse(name, revision)
    files: dict[str, Path | bytes] = {file: folder / file for file in model_files(folder)}
    if with_examples and EXAMPLES not in files:
        raise InputError(f"{folder} keeps no labeled images ({EXAMPLES}); push it without --with-examples")
    if not with_examples:
        files.pop(EXAMPLES, None)
    config = _public_description(folder, EXAMPLES in files)
    if CARD in files:
        ours = is_ours((folder / CARD).read_bytes(), config)
        files[CARD] = card = _card_for(folder, address, ours)
        if ours:
            # With the address in it, it is no less ours where it is pulled.
            config["card"]["sha256"] = checksum(card)
    files[CONFIG] = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "backslashreplace"
    )
    method = config["method"]
    with progress_bars(progress):
        return upload_files(
            address, files, replaced=_is_replaced, private=private, message=f"Push a {method} classifier with fewlabels"
        )


def pull(name: str, out: str | Path | None = None, *, revision: str | None = None, progress: bool = False) -> Path:
    """Fetch a model from the Hugging Face Hub into a folder.

    Nothing but a model's own files is fetched, and the folder is made when all of them are what they were when they
    were saved and the model can be loaded. A download that was cut off is continued.

    Parameters
    ----------
    name : str
        OWNER/NAME, with `@REVISION` or without.
    out : str or Path, optional
        The folder to write; NAME in the working folder when not given.
    revision : str, optional
        A branch, tag or commit; the main branch when not given.
    progress : bool
        Show progress bars.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If there is no such model, no network, the folder holds something already, or what came is no whole model of
        this library.

    Examples
    --------
    >>> pull("birds")
    Traceback (most recent call last):
    fewlabels.storage.errors.InputError: 'birds' is no name of a model on the Hub; expected OWNER/NAME, of letters, \
digits, -, _ and ., such as jane/birds
    """
    hub_api()
    address = HubAddress.parse(name, revision)
    target = Path(address.name.partition("/")[2]) if out is None else Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is there already; give another folder with --out")
    check_writable(target)
    with progress_bars(progress):
        found = fetch_model(address)
    config = read_description(found)
    net = config.get("parameters", {}).get("net")
    # Code of its own is never run unasked; whoever has it gives it to `load`.
    if not (net == MODULE or is_own_code(net)):
        load(found)
    with atomic_folder(target) as temporary:
        for file in model_files(found):
            shutil.copyfile(found / file, temporary / file)
    return target


def _is_replaced(file: str) -> bool:
    """Say whether a file of a model that was there before gives way; nothing does that a person has put beside."""
    return file == EXAMPLES or is_weights(file)


def fetch_model(address: HubAddress) -> Path:
    """Return a folder in the Hub's cache with the files of a model, their checksums looked at.

    Raises
    ------
    InputError
        As `pull` does. What came wrong is taken out of the cache.
    """
    try:
        config = download_file(address, CONFIG)
    except FileNotFoundError as error:
        raise InputError(f"{address} is not a fewlabels model: it has no {CONFIG}") from error
    folder = config.parent
    commit = HubAddress(address.name, folder.name)
    try:
        described = parse_description(config)
        files = [*weight_files(described, address), *([EXAMPLES] if "examples_sha256" in described else [])]
        for file in files:
            download_file(commit, file)
    except FileNotFoundError as error:
        raise InputError(f"{address} is no complete fewlabels model: {error}") from error
    except InputError as error:
        raise InputError(str(error).replace(str(config), f"{CONFIG} of {address}")) from error
    with contextlib.suppress(FileNotFoundError):
        download_file(commit, CARD)
    try:
        model_files(folder)
    except InputError as error:
        for file in [CONFIG, *files]:
            forget_file(folder / file)
        raise InputError(f"what came from {address} is damaged: {str(error).removeprefix(str(folder))}") from error
    return folder


def _public_description(folder: Path, with_examples: bool) -> dict[str, Any]:
    """Return a model's description for others: without places on this machine, and without files that stay here."""
    config = read_description(folder)
    config["records"] = {name: value for name, value in config["records"].items() if name != "source_"}
    config.pop("saved_in", None)
    if not with_examples:
        config.pop("examples_sha256", None)
    place, name = _folder_of_net(config)
    told: dict[str, Any] = json.loads(json.dumps(config).replace(json.dumps(place)[1:-1], name)) if place else config
    return told


def _folder_of_net(config: dict[str, Any]) -> tuple[str, str]:
    """Return where on this machine a model's pretrained net lies, and what to call it elsewhere; empty for others."""
    place = folder_of(config.get("backbone", {}).get("net", ""))
    return (place, f"./{Path(place).name}") if Path(place).is_absolute() else ("", "")


def _card_for(folder: Path, address: HubAddress, ours: bool) -> bytes:
    """Return the card with the model's address on the Hub, its metadata read as the Hub reads it."""
    from huggingface_hub import ModelCard

    # Where the model was pulled from; what a person has written may mean another.
    pulled_from = r'|(?<=fewlabels\.load\()"hub:[^"]*"' if ours else ""
    text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    text = re.sub(f'"{PLACE}"{pulled_from}', f'"{address}"', text)
    place, name = _folder_of_net(read_description(folder))
    text = text.replace(place, name) if place else text
    try:
        ModelCard(text)
    except Exception as error:  # a YAML reader's, or the Hub's own
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the head of {folder / CARD} is not what the Hub reads: {reason}") from error
    return text.encode()
