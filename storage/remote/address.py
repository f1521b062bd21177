"""Where a replica lies: ``s3://BUCKET/PREFIX``, at a service that the caller or environment names.

Public: `ReplicaAddress`, `replica_address`, `CREDENTIAL_VARIABLES`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from storage.remote.errors import ReplicaAddressError

CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""One of these must be set: without any, the client asks a service that only clouds have."""

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
DEFAULT_REGION = "us-east-1"

_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_PREFIX = r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*"


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Where a replica lies.

    Attributes
    ----------
    bucket, prefix : str
        All keys of the replica begin with ``PREFIX/``; an empty prefix is the whole bucket.
    endpoint : str, optional
        Address of the service; None is Amazon's.
    region : str
        Region that requests are signed for.
    """

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str = DEFAULT_REGION

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def replica_address(
    url: str, *, endpoint: str | None = None, environment: Mapping[str, str] = os.environ
) -> ReplicaAddress:
    """Read an address; the endpoint and the region may come from the environment.

    Raises
    ------
    ReplicaAddressError
        If the address or the endpoint is malformed, or the environment holds no credentials.
    """
    found = re.fullmatch(rf"s3://({_BUCKET})(?:/({_PREFIX})?/?)?", url)
    if found is None:
        raise ReplicaAddressError(
            f"{url!r} is no address of a replica; it has the form s3://BUCKET/PREFIX, in letters, "
            "digits and '._=-', the bucket of 3 to 63, such as s3://my-music/store"
        )
    if not any(environment.get(name) for name in CREDENTIAL_VARIABLES):
        raise ReplicaAddressError(
            "there are no credentials for the object store: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment (they are never read from options or files)"
        )
    endpoint = endpoint or _first(environment, ENDPOINT_VARIABLES)
    if endpoint is not None:
        endpoint = _checked_endpoint(endpoint)
    region = _first(environment, REGION_VARIABLES) or DEFAULT_REGION
    return ReplicaAddress(found[1], found[2] or "", endpoint, region)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _checked_endpoint(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or re.search(r"\s|[?#@]", endpoint):
        raise ReplicaAddressError(
            f"{endpoint!r} is no endpoint; name the service as https://HOST or http://HOST:PORT "
            "with --endpoint or AWS_ENDPOINT_URL"
        )
    return endpoint.rstrip("/")
