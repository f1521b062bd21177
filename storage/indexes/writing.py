"""Writing the index of a codes table: built whole, or carried on from the snapshot before.

A large ivf index is carried on where little has changed: its base stays, what was added since goes
to a delta, and what died is noted. When more has changed than a share of it, or the kind, the
generation or the length of the codes is another, it is built whole. Small indexes always are, and
those of other kinds, so that they depend on their codes alone.

Public: `write_index`, `WrittenIndex`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from musichash_core.index_config import IndexConfig, IndexKind, choose_kind
from storage.atomic import FileDigest, digest_file, make_folder, place_file, to_json, write_file
from storage.indexes.building import BaseBuilder, CheckedParts, build_parts, check_carried
from storage.indexes.carrying import carry_on, given_up_at
from storage.indexes.changes import changes_to_table
from storage.indexes.comparing import CodesOrigin, KeyedCodes
from storage.indexes.info import IndexInfo, PartFile
from storage.indexes.ivf import build_ivf
from storage.indexes.settings import IndexSettings
from storage.layout import StoreLayout
from storage.snapshots import Snapshot
from storage.tables import write_table


@dataclass(frozen=True, slots=True)
class WrittenIndex:
    """An index on disk, to be listed by a snapshot.

    Attributes
    ----------
    index, info : FileDigest
        The file of its base and its description, with paths below the store root.
    others : tuple of FileDigest
        Its delta and its changes, where it has some.
    """

    index: FileDigest
    info: FileDigest
    others: tuple[FileDigest, ...] = ()

    @property
    def files(self) -> tuple[FileDigest, ...]:
        """All its files."""
        return (self.index, self.info, *self.others)


def write_index(
    layout: StoreLayout,
    codes: KeyedCodes,
    origin: CodesOrigin,
    *,
    settings: IndexSettings | None = None,
    previous: Snapshot | None = None,
    builder: BaseBuilder = build_ivf,
) -> WrittenIndex:
    """Build, check and store the index of a codes table; every file under the name of its content.

    Parameters
    ----------
    codes : KeyedCodes
        Of the table, in its row order.
    origin : CodesOrigin
        Of these codes.
    settings : IndexSettings, optional
        Which kind, and when it is built whole.
    previous : Snapshot, optional
        The one before, whose index is carried on where little has changed.
    builder : callable
        Builds the lists of an ivf index.

    Raises
    ------
    RecallError
        If its distance-recall is below the bar of the configuration.
    IndexBudgetError
        If no kind keeps to the budgets.
    """
    settings = settings or IndexSettings(IndexConfig())
    config = settings.config
    choice = choose_kind(len(codes), codes.codes.shape[1] * 8, config)
    writer = _Writer(layout, origin, choice.kind, settings)
    if previous is not None and choice.kind == "ivf" and len(codes) >= max(1, config.delta_from):
        carried = carry_on(layout, previous, codes, origin, config)
        if carried is not None and carried.is_same and carried.info.settings == settings.as_dict():
            return _as_listed(previous, carried.info)
        checked = None if carried is None else check_carried(carried.parts, codes.codes, config)
        if carried is not None and checked is not None:
            return writer.write(checked, base=carried.info.base)
        n_tried = given_up_at(layout, previous, codes, origin, settings)
        if n_tried is not None:
            return writer.write(build_parts(codes.codes, "flat", config), given_up_at=n_tried)
    built = build_parts(codes.codes, choice.kind, config, builder=builder)
    is_given_up = built.parts.kind != choice.kind
    return writer.write(built, given_up_at=len(codes) if is_given_up else None)


def _as_listed(snapshot: Snapshot, info: IndexInfo) -> WrittenIndex:
    """Give the index of a snapshot as it lies there."""
    listed = {entry.path: entry for entry in snapshot.files}
    others = [part for part in info.files if part.path != snapshot.index]
    return WrittenIndex(
        listed[snapshot.index],
        listed[snapshot.index_info],
        tuple(listed[part.path] for part in others),
    )


class _Writer:
    """Writes the files of an index beside their final names, and puts them in place."""

    def __init__(
        self, layout: StoreLayout, origin: CodesOrigin, kind: IndexKind, settings: IndexSettings
    ) -> None:
        self._layout = layout
        self._origin = origin
        self._wanted_kind = kind
        self._settings = settings

    def write(
        self,
        checked: CheckedParts,
        *,
        base: PartFile | None = None,
        given_up_at: int | None = None,
    ) -> WrittenIndex:
        """Write all files; a base that lies there already is only named."""
        parts = checked.parts
        make_folder(self._layout.index_root)
        if base is None:
            base = PartFile.of(self._index_file(parts.base), parts.n_base)
        delta = changes = None
        if parts.delta is not None:
            delta = PartFile.of(self._index_file(parts.delta), len(parts.changes.added))
        if parts.changes.n_changes:
            changes = PartFile.of(self._changes_file(checked), parts.changes.n_changes)
        files = [part for part in (base, delta, changes) if part is not None]
        info = IndexInfo(
            kind=parts.kind,
            wanted_kind=self._wanted_kind,
            given_up_at=given_up_at,
            n_codes=parts.n_codes,
            n_bits=parts.n_bits,
            n_bytes=sum(part.n_bytes for part in files),
            generation=self._origin.generation,
            rows_of=list(self._origin.rows_of),
            settings=self._settings.as_dict(),
            parameters=parts.parameters,
            n_probed=parts.n_probed,
            distance_recall_at_10=round(checked.recall.mean, 6),
            recall_queries=checked.recall.n_queries,
            base=base,
            delta=delta,
            changes=changes,
        )
        written, *others = [FileDigest(part.path, part.n_bytes, part.sha256) for part in files]
        return WrittenIndex(written, self._info_file(info), tuple(others))

    def _index_file(self, data: bytes) -> FileDigest:
        temporary = self._layout.index_root / ".tmp-codes.faiss"
        # Given a path, FAISS only prints that the last bytes did not reach a full disk.
        temporary.write_bytes(data)
        return self._placed(temporary, self._layout.index_path)

    def _changes_file(self, checked: CheckedParts) -> FileDigest:
        temporary = self._layout.index_root / ".tmp-changes.parquet"
        write_table(temporary, changes_to_table(checked.parts.changes))
        return self._placed(temporary, self._layout.index_changes_path)

    def _placed(self, temporary: Path, name: Callable[[str], Path]) -> FileDigest:
        digest = digest_file(temporary, self._layout.root)
        final = name(digest.sha256)
        place_file(temporary, final)
        return FileDigest(self._layout.relative(final), digest.size, digest.sha256)

    def _info_file(self, info: IndexInfo) -> FileDigest:
        # Two codes tables can have the same codes, so the index's name is none for its description.
        data = to_json(info.as_dict())
        path = self._layout.index_info_path(hashlib.sha256(data).hexdigest())
        write_file(path, data)
        return digest_file(path, self._layout.root)
