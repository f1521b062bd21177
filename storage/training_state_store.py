"""Where a training stands, on disk, so that a killed one goes on instead of beginning again.

One file per store: tensors as safetensors, everything else as JSON in the same file's header, so
that both are replaced in one step. A SHA-256 over both stands beside them, because a changed byte
of a weight is still a weight.

Public: `write_training_state`, `read_training_state`, `remove_training_state`,
`training_state_path`.
"""

import hashlib
import json
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from musichash_core.training_state import TrainingState
from storage.atomic import write_file
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    StoreError,
    other_format,
)
from storage.layout import StoreLayout

TRAINING_STATE_FORMAT = 1
STATE_NAME = "training-state.safetensors"

_JSON_FIELDS = tuple(field.name for field in fields(TrainingState) if field.name != "tensors")


def training_state_path(layout: StoreLayout) -> Path:
    """Give the one place of a store's training state."""
    return layout.work_root / STATE_NAME


def write_training_state(layout: StoreLayout, state: TrainingState) -> None:
    """Store a state in place of the last one; readers see the one or the other."""
    facts = json.dumps({name: getattr(state, name) for name in _JSON_FIELDS}, sort_keys=True)
    header = {
        "format": str(TRAINING_STATE_FORMAT),
        "state": facts,
        "sha256": _digest(facts, tensors_to_bytes(state.tensors)),
    }
    write_file(training_state_path(layout), tensors_to_bytes(state.tensors, metadata=header))


def read_training_state(layout: StoreLayout) -> TrainingState:
    """Read the state that was written last.

    Raises
    ------
    ArtefactMissingError
        If there is none.
    FormatVersionError
        If another version of musichash wrote it.
    DamagedArtefactError
        If it holds other bytes than were written.
    StoreError
        If it cannot be read.
    """
    path = training_state_path(layout)
    try:
        tensors = tensors_from_bytes(path.read_bytes())
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"{path} does not exist") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (SafetensorError, ValueError) as error:
        raise DamagedArtefactError(f"{path} is no safetensors file: {error}") from error
    found = header.get("format")
    if found != str(TRAINING_STATE_FORMAT):  # the header of such a file holds text only
        number = int(found) if found is not None and found.isdecimal() else found
        instead = "or remove it: the training begins anew then"
        raise other_format(str(path), number, TRAINING_STATE_FORMAT, instead=instead)
    facts = header.get("state", "")
    if _digest(facts, tensors_to_bytes(tensors)) != header.get("sha256"):
        raise DamagedArtefactError(f"{path} holds other bytes than were written")
    return TrainingState(**json.loads(facts), tensors=tensors)


def remove_training_state(layout: StoreLayout) -> None:
    """Remove the state, if there is one: its training is done."""
    training_state_path(layout).unlink(missing_ok=True)


def _digest(facts: str, tensors: bytes) -> str:
    return hashlib.sha256(facts.encode() + b"\0" + tensors).hexdigest()
