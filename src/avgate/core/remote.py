"""Other file systems, through fsspec: which one an address is on, and what their errors mean.

Their libraries are imported only here, and only where there is an address.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from avgate.core.errors import AvgateError, OutputError, PlaceError, UsageError, choose
from avgate.core.scratch import no_room
from avgate.core.text import reason

LOCAL = ("file", "local")
"""Schemes of paths of this machine."""

_PATIENCE = {"connect_timeout": 5.0, "read_timeout": 15.0}
"""How long a store of S3's kind may say nothing, in seconds."""

_ASK_AGAIN = {"retries": {"max_attempts": 1}}
"""How often its library asks it again, unless AWS_MAX_ATTEMPTS says so; s3fs does it all five times."""

_SECRET = re.compile(r"(?<=://)[^/\s]*@|\?[^\s'\"]*")
"""What isn't shown of addresses in a text: user and password, and signatures."""

_NO_KEYS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"}
_AWAY = {"ConnectionError", "HTTPClientError", "ClientConnectionError", "TimeoutError", "gaierror"}
"""Names of errors, or of kinds that they are, of the libraries behind fsspec."""

_DENIED = {"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_NO_BUCKET = {"NoSuchBucket", "InvalidBucketName"}
"""Codes with which S3 answers."""


def shown(text: str) -> str:
    """An address, or a text with some, without passwords and signatures."""
    return _SECRET.sub("", text)


def opened(url: str) -> tuple[Any, str]:
    """The file system of an address, and its path there.

    Raises:
        UsageError: its scheme is unknown, or the library for it isn't installed.
        PlaceError: it can't be opened.
    """
    scheme = url.partition("://")[0]
    try:
        from fsspec import available_protocols, get_filesystem_class
        from fsspec.config import conf
        from fsspec.core import url_to_fs
    except ImportError:
        raise _missing(url, "fsspec", "avgate[scale]") from None
    choose("kind of address", scheme, dict.fromkeys(sorted({"s3", "gs", "abfs", *available_protocols()} - {*LOCAL})))
    of_s3 = scheme in ("s3", "s3a")
    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        raise _missing(url, "s3fs" if of_s3 else reason(error), "avgate[scale]" if of_s3 else None) from None
    options = {}
    if of_s3:
        again = {} if "AWS_MAX_ATTEMPTS" in os.environ else _ASK_AGAIN
        own = conf.get(scheme, {}).get("config_kwargs", {})  # what users have set for fsspec
        options["config_kwargs"] = _PATIENCE | again | own
    try:
        # Others write at the same time: what was listed before says nothing.
        system, path = url_to_fs(url, use_listings_cache=False, **options)
    except Exception as error:
        raise told(error, url, "opened") from None
    return system, str(path)


def _missing(url: str, what: str, package: str | None) -> UsageError:
    hint = f"pip install '{package}'" if package else "install what it names"
    return UsageError(f"this kind of address needs a package that isn't installed: {what}", where=shown(url), hint=hint)


def told(error: Exception, url: str, how: str) -> AvgateError:
    """An error of a file system's library in this program's words, which hold no key and no signature.

    Args:
        error: what the library raised.
        url: the address.
        how: what was done to it: "read", "written" or "opened".
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return no_room(f"there is no room for a copy of {shown(url)} ({reason(error)})")
    kind: type[AvgateError] = OutputError if how == "written" else PlaceError
    names, codes = {k.__name__ for k in type(error).__mro__}, _codes(error)
    if names & _NO_KEYS:
        why, hint = (
            "there are no keys for it",
            "give them where its library looks, such as AWS_ACCESS_KEY_ID",
        )
    elif isinstance(error, PermissionError) or codes & _DENIED:
        why, hint = "access is denied", "check the keys, and what they are allowed to do there"
    elif no_bucket(error) or isinstance(error, FileNotFoundError):
        why, hint = "there is no such bucket or folder", "check the name, or make the bucket first"
    elif names & _AWAY:
        why, hint = "the store can't be reached", "check the network, and the endpoint, such as AWS_ENDPOINT_URL"
    elif isinstance(error, NotImplementedError):
        why, hint = "this kind of address can't do that", "choose one on an object store, such as s3://bucket/folder"
    else:
        why, hint = shown(reason(error)), "check the address and the settings of its store"
    return kind(f"can't be {how}: {why}", where=shown(url), hint=hint)


def no_bucket(error: BaseException) -> bool:
    """Whether a store answered that there is no such bucket, and not only no such file."""
    return bool(_codes(error) & _NO_BUCKET)


def _codes(error: BaseException | None) -> set[str]:
    """The codes with which the store answered, of an error and of those that led to it."""
    found = set()
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            found.add(str(response.get("Error", {}).get("Code")))
        error = error.__cause__ or error.__context__
    return found
