"""Make the shipped default model anew, from the descriptions in one store or several.

For those who maintain musichash; ``python -m tasks.make_default_model --help``. The model card
beside the result says which music the shipped one was made from.

Public: `make_default_model`, `main`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.descriptor_models.default_model import DEFAULT_FOLDER, save_detail_basis
from musichash_core.descriptor_models.hash_head import fit_detail_basis
from musichash_core.descriptors import N_DESCRIPTORS, description_fingerprint
from musichash_core.musicnn.tags import MSD_TAGS
from storage.description_store import read_descriptions
from storage.receipts import finished_partitions
from storage.store import open_store

NAME = "musichash-default-1"


def make_default_model(stores: Sequence[str], folder: Path) -> int:
    """Fit the detail basis on every described track, each content once; give their number.

    Parameters
    ----------
    stores : sequence of str
        Stores with descriptions of the default features, of which no label is looked at.
    folder : Path
        Where the files are written.

    Raises
    ------
    ParameterError
        If there are too few tracks.
    """
    fingerprint = PipelineConfig().feature_fingerprint
    vectors: dict[str, NDArray[np.float32]] = {}
    for store in stores:
        layout = open_store(store)
        root = layout.descriptions_root(fingerprint, description_fingerprint())
        for partition_id in finished_partitions(root):
            stored = read_descriptions(
                root / partition_id, n_descriptors=N_DESCRIPTORS, n_tags=len(MSD_TAGS)
            )
            vectors.update(zip(stored.track_ids, stored.vectors[:, 0], strict=True))
    ordered = [vectors[track_id] for track_id in sorted(vectors)]
    table = np.stack(ordered) if ordered else np.empty((0, N_DESCRIPTORS), np.float32)
    card = {
        "name": NAME,
        "n_tracks": len(ordered),
        "description_fingerprint": description_fingerprint(),
    }
    save_detail_basis(fit_detail_basis(table), card, folder)
    return len(ordered)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and make the model."""
    parser = argparse.ArgumentParser(prog="python -m tasks.make_default_model", description=__doc__)
    parser.add_argument("--store", action="append", required=True, help="may be repeated")
    parser.add_argument("--output", type=Path, default=DEFAULT_FOLDER)
    options = parser.parse_args(arguments)
    n_tracks = make_default_model(options.store, options.output)
    print(f"{options.output}: made from {n_tracks} tracks")  # noqa: T201 - a tool's answer


if __name__ == "__main__":
    main()
