"""The data sets that can be loaded, by name.

Public: `DATASETS`, `KnownDataset`, `load_dataset`.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from musichash_core.errors import ParameterError
from storage.datasets.ballroom import BALLROOM, load_ballroom
from storage.datasets.extended_ballroom import EXTENDED_BALLROOM, load_extended_ballroom
from storage.datasets.fma import FMA_LARGE, FMA_MEDIUM, FMA_SMALL, load_fma
from storage.datasets.gtzan import GTZAN, load_gtzan
from storage.datasets.magnatagatune import MAGNATAGATUNE, load_magnatagatune
from storage.datasets.mtg_jamendo import (
    JAMENDO_PARTS,
    N_SPLITS,
    about_mtg_jamendo,
    load_mtg_jamendo,
)
from storage.datasets.owned_folder import FOLDER, MANIFEST, load_folder, load_manifest
from storage.datasets.records import AboutDataset, Dataset


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set and what loads it.

    Attributes
    ----------
    about : AboutDataset
        Its source, citation, licence and layout.
    loaders : tuple of callable
        From the root to the data set; one for each of its published splits, or one alone.
    """

    about: AboutDataset
    loaders: tuple[Callable[[Path], Dataset], ...]


_KNOWN = (
    KnownDataset(GTZAN, (load_gtzan,)),
    KnownDataset(FMA_SMALL, (partial(load_fma, size="small"),)),
    KnownDataset(FMA_MEDIUM, (partial(load_fma, size="medium"),)),
    KnownDataset(FMA_LARGE, (partial(load_fma, size="large"),)),
    KnownDataset(BALLROOM, (load_ballroom,)),
    KnownDataset(EXTENDED_BALLROOM, (load_extended_ballroom,)),
    *(
        KnownDataset(
            about_mtg_jamendo(part),
            tuple(
                partial(load_mtg_jamendo, part=part, split_number=number)
                for number in range(N_SPLITS)
            ),
        )
        for part in JAMENDO_PARTS
    ),
    KnownDataset(MAGNATAGATUNE, (load_magnatagatune,)),
    KnownDataset(FOLDER, (load_folder,)),
    KnownDataset(MANIFEST, (load_manifest,)),
)

DATASETS = {known.about.name: known for known in _KNOWN}


def load_dataset(name: str, root: Path, *, split_number: int = 0) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    split_number : int
        Which of its published splits; most have one.

    Raises
    ------
    ParameterError
        If there is no data set of that name, or no such split of it.
    DatasetError
        If the folder does not hold it.
    """
    known = DATASETS.get(name)
    if known is None:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ParameterError(
            f"there is no data set {name!r}{hint} (there are {', '.join(DATASETS)})"
        )
    if split_number not in range(len(known.loaders)):
        raise ParameterError(
            f"split number {split_number}: {name} has {len(known.loaders)}, counted from 0"
        )
    return known.loaders[split_number](root)
