"""Make the shipped components of window codes anew, from the features in one store or several.

For those who maintain musichash; ``python -m tasks.make_segment_basis --help``. The card beside the
result says which music the shipped ones were made from. Codes made with other components cannot be
compared: give the new file another name, and let `musichash_core.segments.WindowConfig` know it.

Public: `make_segment_basis`, `main`.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from musichash_core.config import PipelineConfig
from musichash_core.segment_codes import (
    BASIS_FOLDER,
    BASIS_NAME,
    fit_segment_basis,
    mean_spectra,
)
from musichash_core.segments import WindowConfig
from storage.feature_store import FeaturePartition
from storage.receipts import finished_partitions
from storage.store import open_store


def make_segment_basis(stores: Sequence[str], path: Path) -> int:
    """Fit the components on the windows of every track, each content once; give their number.

    Parameters
    ----------
    stores : sequence of str
        Stores with default features.
    path : Path
        Where the file is written.

    Raises
    ------
    ParameterError
        If there are too few windows.
    """
    fingerprint = PipelineConfig().feature_fingerprint
    spectra: dict[str, NDArray[np.float64]] = {}
    for store in stores:
        root = open_store(store).features_root(fingerprint)
        for partition_id in finished_partitions(root):
            for stored, track in FeaturePartition(root / partition_id).track_frames():
                spectra[stored.track_id] = mean_spectra(track, WindowConfig())[1]
    basis = fit_segment_basis([spectra[track_id] for track_id in sorted(spectra)])
    path.write_bytes(save(basis._asdict()))
    return len(spectra)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and make the components."""
    parser = argparse.ArgumentParser(prog="python -m tasks.make_segment_basis", description=__doc__)
    parser.add_argument("--store", action="append", required=True, help="may be repeated")
    parser.add_argument("--output", type=Path, default=BASIS_FOLDER / BASIS_NAME)
    options = parser.parse_args(arguments)
    n_tracks = make_segment_basis(options.store, options.output)
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    print(f"{options.output}: {digest}, made from {n_tracks} tracks")  # noqa: T201 - a tool's answer


if __name__ == "__main__":
    main()
