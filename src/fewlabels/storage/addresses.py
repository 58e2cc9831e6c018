"""Addresses without what opens them, as they can be shown and kept."""

from __future__ import annotations

import re

# Elsewhere what stands before @ is part of the name, as of `hf://datasets/jane/birds@main`.
_USER = re.compile(r"\b((?:https?|ftps?|sftp|ssh|smb|webdavs?)://)[^/?#]*@", re.IGNORECASE)
_QUERY = re.compile(r"(https?://[^?]*)\?.*", re.IGNORECASE | re.DOTALL)
_IN_TEXT = re.compile(r"\b[a-z]+://[^\s'\"<>]+", re.IGNORECASE)


def without_user(address: str) -> str:
    """Return an address without the user's name and password.

    Examples
    --------
    >>> without_user("https://jane:secret@host/pool.tar?part=1"), without_user("s3://bucket/pool.tar")
    ('https://host/pool.tar?part=1', 's3://bucket/pool.tar')
    """
    return _USER.sub(r"\1", address)


def without_secrets(address: str) -> str:
    """Return an address without the user's name and password, and one of the web without what stands behind `?`.

    Signatures stand there. Paths and addresses of object stores stay as they are.

    Examples
    --------
    >>> without_secrets("https://jane:secret@host/pool.tar?X-Amz-Signature=1f"), without_secrets("pool/a?.tar")
    ('https://host/pool.tar', 'pool/a?.tar')
    """
    return _QUERY.sub(r"\1", without_user(address))


def without_secrets_in(text: str) -> str:
    """Return text, such as an error's, with each address in it as `without_secrets` has it.

    Examples
    --------
    >>> without_secrets_in("403, url='https://host/pool.tar?X-Amz-Signature=1f'")
    "403, url='https://host/pool.tar'"
    """
    return _IN_TEXT.sub(lambda found: without_secrets(found[0]), text)
