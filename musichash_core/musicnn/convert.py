"""Checkpoint of a musicnn network -> safetensors file, without TensorFlow.

::

    python -m musichash_core.musicnn.convert CHECKPOINT_FOLDER OUTPUT.safetensors

The folder is one of those in the wheel ``musicnn-0.1.0`` (``pip download --no-deps
musicnn==0.1.0``); its name says which network it is. What the optimiser kept is left out, and so
are filters that give a constant (`musichash_core.musicnn.constant_filters`). The same checkpoint
gives the same bytes.

Public: `convert_checkpoint`, `main`.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save as tensors_to_bytes

from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.musicnn.checkpoint_weights import musicnn_state, vgg_state
from musichash_core.musicnn.constant_filters import (
    without_constant_filters_musicnn,
    without_constant_filters_vgg,
)
from musichash_core.musicnn.networks import MusiCNN
from musichash_core.musicnn.pretrained import CARD_KEY, network_from_tensors, pretrained_network
from musichash_core.musicnn.tensorflow_checkpoint import DATA_NAME, INDEX_NAME, read_checkpoint

SOURCE = {
    "source": "https://pypi.org/project/musicnn/0.1.0/",
    "version": "0.1.0",
    "licence": "ISC",
    "copyright": "Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019. "
    "Code developed by Jordi Pons (www.jordipons.me).",
}


def convert_checkpoint(folder: Path, name: str) -> bytes:
    """Give the safetensors file of a checkpoint, in float32.

    Parameters
    ----------
    folder : Path
        Holds the checkpoint's index and data.
    name : str
        One of `musichash_core.musicnn.pretrained.NETWORKS`.

    Raises
    ------
    ParameterError
        If the name is unknown, the checkpoint cannot be read, or is not of this architecture.
    """
    kind = pretrained_network(name)
    checkpoint = read_checkpoint(folder)
    if kind.architecture is MusiCNN:
        state = without_constant_filters_musicnn(musicnn_state(checkpoint))
    else:
        state = without_constant_filters_vgg(vgg_state(checkpoint))
    tensors = {key: np.ascontiguousarray(value, np.float32) for key, value in state.items()}
    contents = tensors_to_bytes(tensors, {CARD_KEY: _card(name, kind.tags, folder)})
    try:
        network_from_tensors(name, contents)
    except ParameterError as error:
        raise ParameterError(f"the checkpoint in {folder} is not of {name}: {error}") from error
    return contents


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m musichash_core.musicnn.convert",
        description="Convert a checkpoint of the wheel musicnn-0.1.0 to a safetensors file.",
    )
    parser.add_argument("folder", type=Path, metavar="CHECKPOINT_FOLDER")
    parser.add_argument("output", type=Path, metavar="OUTPUT.safetensors")
    given = parser.parse_args(arguments)
    try:
        contents = convert_checkpoint(given.folder, given.folder.resolve().name)
        given.output.write_bytes(contents)
    except (MusicHashError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{hashlib.sha256(contents).hexdigest()}  {given.output}\n")
    return 0


def _card(name: str, tags: tuple[str, ...], folder: Path) -> str:
    """Say what the file is; one text, as several would be written in an order that changes."""
    digests = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for file in (INDEX_NAME, DATA_NAME)
    }
    return json.dumps({"name": name, **SOURCE, "tags": tags, "sha256": digests}, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
