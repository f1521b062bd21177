"""The registered collections of a store: catalogue roots that every run scans besides those given.

Public: `Collection`, `CollectionError`, `read_collections`, `register_collection`,
`remove_collection`, `check_collection_name`.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from storage.atomic import read_json, write_json
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    StoreError,
    other_format,
)
from storage.layout import StoreLayout

COLLECTIONS_FORMAT = 1

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}[a-z0-9]|[a-z0-9]")
"""Names become names of folders: of one case, without separators, blanks or a leading dot."""


class CollectionError(StoreError, ValueError):
    """A collection has no fit name, is registered otherwise, or is not registered."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class Collection:
    """A catalogue root that belongs to the store.

    Attributes
    ----------
    name : str
        What its owner calls it; see `check_collection_name`.
    root : str
        Absolute path of its folder.
    labels, manifest : str or None
        Its labels file (or ``none``) and its manifest, as ``--labels`` and ``--manifest`` take
        them; absolute paths.
    """

    name: str
    root: str
    labels: str | None = None
    manifest: str | None = None


def check_collection_name(name: str) -> str:
    """Give a name back if it is fit for a collection.

    Raises
    ------
    CollectionError
        If it is not.
    """
    if NAME_PATTERN.fullmatch(name) is None:
        raise CollectionError(
            f"{name!r} is no name for a collection; use 1 to 64 of a-z, 0-9, '-', '_' and '.', "
            "the first and last a letter or digit, such as 'radio-archive'"
        )
    return name


def read_collections(layout: StoreLayout) -> tuple[Collection, ...]:
    """Read the registered collections, sorted by name; none when the store has no register.

    Raises
    ------
    DamagedArtefactError, FormatVersionError
        If the register is not one, or one of another version.
    """
    path = layout.collections_path
    try:
        content = read_json(path)
    except ArtefactMissingError:
        return ()
    if content.get("format") != COLLECTIONS_FORMAT:
        raise other_format(
            f"the register of collections {path}", content.get("format"), COLLECTIONS_FORMAT
        )
    try:
        found = [Collection(**entry) for entry in content["collections"]]
        for one in found:
            check_collection_name(one.name)
    except (KeyError, TypeError, CollectionError) as error:
        raise DamagedArtefactError(
            f"{path} is no register of collections ({error}); restore it from a backup, or remove "
            "it and register each collection again with 'musichash backfill --collection'"
        ) from error
    return tuple(sorted(found, key=lambda one: one.name))


def register_collection(layout: StoreLayout, collection: Collection) -> None:
    """Add a collection to the register; the same one again changes nothing.

    Raises
    ------
    CollectionError
        If its name or its root is registered otherwise.
    """
    registered = read_collections(layout)
    if collection in registered:
        return
    check_is_free(collection, registered)
    _write(layout, [*registered, collection])


def check_is_free(collection: Collection, registered: Sequence[Collection]) -> None:
    """Refuse a collection whose name or root is registered otherwise."""
    check_collection_name(collection.name)
    for other in registered:
        if other == collection:
            return
        if other.name == collection.name:
            raise CollectionError(
                f"the collection {other.name!r} is registered with {_spoken(other)}, not "
                f"{_spoken(collection)}; use another name, or deregister it first with "
                "'musichash collections remove NAME'"
            )
        if other.root == collection.root:
            raise CollectionError(
                f"{collection.root} is registered already, as the collection {other.name!r}; "
                "every run scans it"
            )


def remove_collection(layout: StoreLayout, name: str) -> Collection:
    """Take a collection out of the register and give it; its tracks go with the next run.

    Raises
    ------
    CollectionError
        If there is none of that name.
    """
    registered = read_collections(layout)
    for one in registered:
        if one.name == name:
            _write(layout, [other for other in registered if other != one])
            return one
    known = ", ".join(repr(one.name) for one in registered) or "none"
    raise CollectionError(
        f"the store {layout.root} has no collection {name!r}; registered: {known}"
    )


def _write(layout: StoreLayout, collections: Sequence[Collection]) -> None:
    ordered = sorted(collections, key=lambda one: one.name)
    content = {"format": COLLECTIONS_FORMAT, "collections": [asdict(one) for one in ordered]}
    write_json(layout.collections_path, content)


def _spoken(collection: Collection) -> str:
    labels = f", labels {collection.labels}" if collection.labels else ""
    manifest = f", manifest {collection.manifest}" if collection.manifest else ""
    return f"the root {collection.root}{labels}{manifest}"
