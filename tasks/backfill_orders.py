"""What a backfill is asked to fill.

Public: `Request`, `Order`, `order_of`, `backfill_name`, `BackfillError`.
"""

from dataclasses import dataclass
from pathlib import Path

from musichash_core.config import PipelineConfig
from musichash_core.errors import MusicHashError
from storage.backfills import Kind
from storage.catalogue import check_roots
from storage.collections import Collection, check_collection_name
from storage.generations import find_generation
from storage.store import open_store


class BackfillError(MusicHashError, ValueError):
    """A backfill is asked for in a way that has no meaning, or cannot go on as it began."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class Order:
    """What a backfill is to fill.

    Attributes
    ----------
    kind : "collection", "model" or "features"
        What it fills.
    target : str
        Name of the collection, generation, or feature fingerprint.
    collection : Collection or None
        Of a collection: where it lies.
    """

    kind: Kind
    target: str
    collection: Collection | None = None

    @property
    def name(self) -> str:
        """Name of the backfill."""
        return f"{self.kind}-{self.target}"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, option by option.

    Attributes
    ----------
    collection, catalogue, labels, manifest : str or None
        Name of a collection, its folder, labels file and manifest.
    model : str or None
        Name of a generation, or how it begins.
    features : PipelineConfig or None
        Configuration of the features to extract.
    """

    collection: str | None = None
    catalogue: str | None = None
    labels: str | None = None
    manifest: str | None = None
    model: str | None = None
    features: PipelineConfig | None = None


def order_of(store: str, request: Request) -> Order:
    """Make an order of what was asked for; exactly one kind of it.

    Raises
    ------
    BackfillError, CollectionError, CatalogueError
        If it is none or several kinds, an option is missing or has no meaning, or the name or the
        root of the collection is wrong.
    UnknownGenerationError
        If the store has no such generation.
    """
    said = {
        "--collection": request.collection,
        "--model": request.model,
        "--features": request.features,
    }
    kinds = [option for option, value in said.items() if value is not None]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} are given" if kinds else "none is named"
        raise BackfillError(
            f"a backfill fills one thing, and {found}; give either --collection NAME "
            "--catalogue DIR, or --model GENERATION, or --features CONFIG.toml"
        )
    if request.collection is not None:
        return _collection_order(request.collection, request)
    others = {
        "--catalogue": request.catalogue,
        "--labels": request.labels,
        "--manifest": request.manifest,
    }
    for option, value in others.items():
        if value is not None:
            raise BackfillError(
                f"{option} belongs to --collection NAME; {kinds[0]} takes what is published"
            )
    if request.model is not None:
        return Order("model", find_generation(open_store(store), request.model))
    assert request.features is not None
    return Order("features", request.features.feature_fingerprint)


def _collection_order(name: str, request: Request) -> Order:
    check_collection_name(name)
    if request.catalogue is None:
        raise BackfillError(
            f"--collection {name} needs the folder of its music: add --catalogue DIR"
        )
    (root,) = check_roots([request.catalogue])
    labels, manifest = _absolute(request.labels), _absolute(request.manifest)
    return Order("collection", name, Collection(name, root, labels, manifest))


def _absolute(path: str | None) -> str | None:
    """Make a file's path absolute; runs that scan the collection may stand in another folder."""
    return path if path is None or path == "none" else str(Path(path).absolute())


def backfill_name(store: str, request: Request) -> str | None:
    """Name the backfill that a request is about; None where it names none in particular."""
    if request.collection is not None:
        return f"collection-{check_collection_name(request.collection)}"
    if request.model is None and request.features is None:
        return None
    return order_of(store, request).name
