"""Identities: of a track by its bytes, of a configuration by its settings.

Public: `track_id_of`, `fingerprint_of`.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

TRACK_ID_BYTES = 16
"""128 bits: the chance that two of 100 million tracks collide is below 1e-22."""

FINGERPRINT_DIGITS = 12


def track_id_of(blocks: Iterable[bytes]) -> str:
    """Give the identity of a file from its bytes, block by block.

    Returns
    -------
    str
        32 hex digits of BLAKE2b with a 16-byte digest.
    """
    digest = hashlib.blake2b(digest_size=TRACK_ID_BYTES)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def fingerprint_of(kind: str, *parts: BaseModel | dict[str, Any] | str | int) -> str:
    """Hash the settings that change the numbers, in canonical JSON.

    Parameters
    ----------
    kind : str
        What is being identified; two kinds with equal settings differ.
    parts : models, dicts, strings, numbers
        Configuration models, format versions, fingerprints of inputs.

    Returns
    -------
    str
        12 hex digits.
    """
    plain = [
        part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts
    ]
    text = json.dumps([kind, *plain], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]
