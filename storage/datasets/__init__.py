"""Loaders of published data sets in the layouts that people have them in; nothing is downloaded.

Each loader reads the folder as its makers hand it out and gives the tracks with genre, tags, group
(artist) and published split, and notes about what was left out. `load_dataset` finds a loader by
the data set's name, `write_manifest_rows` writes what `musichash run --manifest` reads.
"""

from storage.datasets.known import DATASETS, load_dataset
from storage.datasets.manifest_rows import write_manifest_rows
from storage.datasets.records import (
    SPLITS,
    AboutDataset,
    Dataset,
    DatasetError,
    DatasetNote,
    DatasetTrack,
    Split,
)

__all__ = [
    "DATASETS",
    "SPLITS",
    "AboutDataset",
    "Dataset",
    "DatasetError",
    "DatasetNote",
    "DatasetTrack",
    "Split",
    "load_dataset",
    "write_manifest_rows",
]
