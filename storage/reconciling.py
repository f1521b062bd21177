"""Bringing features, tables, codes and index into agreement again after damage.

What is derived is rebuilt and put back where it comes out to the byte as it was published: the
index from the codes, tables from the partitions. Damaged partitions are removed, so that the next
run makes them anew; what is published of them stays readable meanwhile. The runs table comes from
the ledger, which has gone on since; it is published anew, with everything else as it was.

Public: `reconcile`, `Reconciled`, `Step`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from storage.agreement import Disagreement, compare_snapshot
from storage.assembling import index_files, with_index, with_runs_table
from storage.atomic import remove_folder, write_file
from storage.errors import StoreError
from storage.indexes import (
    KEY_COLUMNS,
    CodesOrigin,
    keyed_codes,
    settings_in_force,
    write_index,
)
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.lost_tracks import LostTracks, lost_tracks
from storage.published import read_table
from storage.rebuilding import rebuild_index, rebuild_tables
from storage.runs import RunRecord
from storage.snapshots import (
    Snapshot,
    current_snapshot,
    list_snapshots,
    pointer_bytes,
    publish_snapshot,
    read_pointer,
    read_snapshot,
)
from storage.verify import Finding, check_entry, check_folder

PARTITIONS = {"features": "extracts", "descriptions": "describes", "encoded": "encodes"}
"""Kinds of partitions, and what the next run does to the tracks of one that is removed."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was not as promised, and what was done about it.

    Attributes
    ----------
    path : str
        Below the store root.
    problem : str
        What is wrong with it.
    action : str
        ``rebuilt``, ``removed``, ``published anew`` or ``not mended``.
    remark : str
        What follows from it, or why it could not be mended and what to do.
    """

    path: str
    problem: str
    action: str
    remark: str


@dataclass(slots=True)
class Reconciled:
    """What was found and done.

    Attributes
    ----------
    steps : list of Step
        Empty when nothing was damaged.
    disagreements : list of Disagreement
        Between tables, index and partitions whose bytes are as published.
    lost : LostTracks
        Tracks whose features were removed.
    snapshot : int or None
        The current one, afterwards.
    n_files, n_bytes : int
        What was read.
    """

    steps: list[Step] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    lost: LostTracks = field(default_factory=LostTracks)
    snapshot: int | None = None
    n_files: int = 0
    n_bytes: int = 0

    @property
    def is_mended(self) -> bool:
        """Whether everything is in order now, or will be after the next run."""
        return not self.disagreements and all(step.action != "not mended" for step in self.steps)


def reconcile(
    layout: StoreLayout,
    *,
    record: RunRecord | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Reconciled:
    """Check all partitions and the current snapshot, and mend what can be mended.

    Parameters
    ----------
    record : RunRecord, optional
        This run, as it will stand in the ledger when it has ended well: with it, a damaged runs
        table is published anew.
    dry_run : bool
        Change nothing, and say what would be done.
    on_progress : callable, optional
        Called with the number of things checked and of all.

    Raises
    ------
    StoreError
        If the current snapshot cannot be found: the message says what to roll back to.
    """
    done = Reconciled()
    _mend_pointer(layout, done, dry_run=dry_run)
    snapshot = None if done.steps and dry_run else current_snapshot(layout)
    listed = {} if snapshot is None else {entry.path: entry for entry in snapshot.files}
    partitions = list(_partitions(layout))
    others = [path for path in listed if not path.startswith(tuple(f"{k}/" for k in PARTITIONS))]
    total = len(partitions) + len(others)
    damaged: dict[Path, Finding] = {}
    for count, folder in enumerate(partitions, start=1):
        entry = listed.pop(f"{layout.relative(folder)}/{RECEIPT_NAME}", None)
        findings, n_files, n_bytes = check_folder(layout, folder, entry)
        _count(done, n_files, n_bytes, on_progress, count, total)
        for finding in findings:
            if finding.problem == "extra":
                done.steps.append(_foreign(finding))
            else:
                damaged.setdefault(folder, finding)
    if snapshot is not None:
        findings = []
        for count, path in enumerate(others, start=len(partitions) + 1):
            found, n_files, n_bytes = check_entry(layout, listed.pop(path))
            findings += found
            _count(done, n_files, n_bytes, on_progress, count, total)
        findings += [Finding(path, "missing") for path in listed]  # whole folders are gone
        done.snapshot = snapshot.number
        _mend_snapshot(layout, snapshot, findings, done, record=record, dry_run=dry_run)
        if not findings:
            done.disagreements = compare_snapshot(layout, snapshot, damaged)
    _remove_partitions(layout, damaged, done, dry_run=dry_run)
    return done


def _count(
    done: Reconciled,
    n_files: int,
    n_bytes: int,
    on_progress: Progress | None,
    count: int,
    total: int,
) -> None:
    done.n_files += n_files
    done.n_bytes += n_bytes
    if on_progress is not None:
        on_progress(count, total)


def _foreign(finding: Finding) -> Step:
    return Step(
        finding.path, "extra", "not mended", "musichash did not put it there: move it elsewhere"
    )


# --- the pointer ---------------------------------------------------------------------------------


def _mend_pointer(layout: StoreLayout, done: Reconciled, *, dry_run: bool) -> None:
    """Mend a pointer of which only the number, or only the digest, was changed."""
    try:
        current_snapshot(layout)
    except StoreError as error:
        text = layout.current_path.read_bytes()
        named = re.search(rb"sha256:([0-9a-f]{64})", text)
        manifests = {
            number: layout.snapshot_path(number).read_bytes() for number in list_snapshots(layout)
        }
        fitting = [
            number
            for number, data in manifests.items()
            if named and hashlib.sha256(data).hexdigest() == named[1].decode()
        ]
        if not fitting and read_pointer(layout) is not None and named:
            return _mend_digest(layout, manifests, done, dry_run=dry_run)
        if not fitting:
            raise
        _write_pointer(layout, fitting[0], manifests[fitting[0]], str(error), done, dry_run=dry_run)
    return None


def _mend_digest(
    layout: StoreLayout, manifests: dict[int, bytes], done: Reconciled, *, dry_run: bool
) -> None:
    """No manifest has the digest in the pointer, so its number is what was not changed."""
    pointer = read_pointer(layout)
    assert pointer is not None
    read_snapshot(layout, pointer.number)
    data = manifests[pointer.number]
    _write_pointer(layout, pointer.number, data, "its digest was changed", done, dry_run=dry_run)


def _write_pointer(
    layout: StoreLayout,
    number: int,
    manifest: bytes,
    problem: str,
    done: Reconciled,
    *,
    dry_run: bool,
) -> None:
    if not dry_run:
        write_file(layout.current_path, pointer_bytes(number, manifest))
    remark = f"it names snapshot {number} again"
    path = layout.relative(layout.current_path)
    done.steps.append(Step(path, problem.split(";")[0], "rebuilt", remark))


# --- the snapshot --------------------------------------------------------------------------------


def _mend_snapshot(
    layout: StoreLayout,
    snapshot: Snapshot,
    findings: list[Finding],
    done: Reconciled,
    *,
    record: RunRecord | None,
    dry_run: bool,
) -> None:
    """Rebuild table parts and index; publish a damaged runs table anew."""
    problems = {finding.path: finding.problem for finding in findings}
    parts = {path for paths in snapshot.tables.values() for path in paths} & problems.keys()
    runs = parts & set(snapshot.tables["runs"])
    others = sorted(parts - runs)
    failed = rebuild_tables(layout, snapshot, others, dry_run=dry_run) if others else {}
    way_out = (
        f"'musichash snapshots list --store {layout.root}' shows what to roll back to; without "
        f"another snapshot remove {layout.current_path} and run again: features and codes are kept"
    )
    for path in others:
        _tell(done, path, problems.pop(path), failed.get(path), way_out, "from the partitions")
    index = {path: problems.pop(path) for path in sorted(index_files(snapshot)) if path in problems}
    mending = _IndexMending(layout, snapshot, record, done, dry_run=dry_run)
    is_renewed = mending.mend(index, way_out, are_tables_damaged=bool(others), failed=bool(failed))
    for path in sorted(runs):
        number = done.snapshot if is_renewed else None  # which has a runs table of its own
        if record is not None and not dry_run and not is_renewed:
            number = publish_snapshot(layout, _without_runs(layout, snapshot, record))
            done.snapshot = number
        action = "published anew" if number or dry_run else "not mended"
        remark = "with everything else as it was" + (f", as snapshot {number}" if number else "")
        done.steps.append(Step(path, problems.pop(path), action, remark))
    for path, problem in problems.items():
        done.steps.append(Step(path, problem, *_rest(path, way_out)))


class _IndexMending:
    """Mends the index of a snapshot: to the byte, or by publishing one that is built whole."""

    def __init__(
        self,
        layout: StoreLayout,
        snapshot: Snapshot,
        record: RunRecord | None,
        done: Reconciled,
        *,
        dry_run: bool,
    ) -> None:
        self._layout = layout
        self._snapshot = snapshot
        self._record = record
        self._done = done
        self._dry_run = dry_run

    def mend(
        self, problems: dict[str, str], way_out: str, *, are_tables_damaged: bool, failed: bool
    ) -> bool:
        """Mend files with problems; tell whether a snapshot was, or would be, published.

        Parameters
        ----------
        are_tables_damaged, failed : bool
            Whether tables of the snapshot were damaged, and whether some still are.
        """
        if not problems:
            return False
        reason = None
        if not self._dry_run or not are_tables_damaged:  # else its table is still damaged
            reason = rebuild_index(self._layout, self._snapshot, dry_run=self._dry_run)
        remark = None if reason is None or failed else self._renew(reason)
        for path, problem in problems.items():
            if remark is None:
                _tell(self._done, path, problem, reason, way_out, "from the codes table")
            else:
                self._done.steps.append(Step(path, problem, "published anew", remark))
        return remark is not None

    def _renew(self, reason: str) -> str | None:
        """Publish the same content with an index built whole; say so, or None if it cannot be.

        That needs no more than the codes table; what else made the damaged one is lost.
        """
        remark = f"built whole, because it cannot come back to the byte: {reason}"
        if self._dry_run:
            return remark
        if self._record is None:
            return None
        layout, snapshot = self._layout, self._snapshot
        try:
            codes = keyed_codes(read_table(layout, snapshot, "codes", columns=KEY_COLUMNS))
            listed = {entry.path: entry.sha256 for entry in snapshot.files}
            rows_of = tuple(listed[path] for path in snapshot.tables["codes"])
            settings = settings_in_force(layout, snapshot, None)
            origin = CodesOrigin(snapshot.generation, rows_of)
            written = write_index(layout, codes, origin, settings=settings)
        except StoreError:
            return None
        following = with_runs_table(layout, with_index(snapshot, written), self._record)
        self._done.snapshot = publish_snapshot(layout, following)
        return f"{remark}; as snapshot {self._done.snapshot}"


def _tell(
    done: Reconciled, path: str, problem: str, reason: str | None, way_out: str, source: str
) -> None:
    if reason is None:
        done.steps.append(Step(path, problem, "rebuilt", f"{source}, to the byte"))
    else:
        done.steps.append(Step(path, problem, "not mended", f"{reason}; {way_out}"))


def _rest(path: str, way_out: str) -> tuple[str, str]:
    kind, _, name = path.partition("/")
    if kind == "models":
        generation = name.partition("/")[0]
        return "not mended", (
            f"weights cannot be made anew: restore the folder models/{generation} from a copy, or "
            "promote another generation with 'musichash models promote'"
        )
    if kind in PARTITIONS:
        return "removed", f"its folder is gone; the next run {PARTITIONS[kind]} its tracks again"
    return "not mended", way_out


def _without_runs(layout: StoreLayout, snapshot: Snapshot, record: RunRecord) -> Snapshot:
    """Give the same content with a runs table from the ledger."""
    gone = set(snapshot.tables["runs"])
    rest = replace(
        snapshot,
        tables={name: paths for name, paths in snapshot.tables.items() if name != "runs"},
        files=tuple(entry for entry in snapshot.files if entry.path not in gone),
    )
    return with_runs_table(layout, rest, record)


# --- partitions ----------------------------------------------------------------------------------


def _partitions(layout: StoreLayout) -> Iterator[Path]:
    for kind in PARTITIONS:
        for folder in sorted((layout.root / kind).glob("*/*")):
            if folder.is_dir() and not folder.name.startswith("."):
                yield folder


def _remove_partitions(
    layout: StoreLayout, damaged: dict[Path, Finding], done: Reconciled, *, dry_run: bool
) -> None:
    features = [folder for folder in damaged if folder.is_relative_to(layout.root / "features")]
    done.lost = lost_tracks(layout, features)
    for folder, finding in damaged.items():
        kind = layout.relative(folder).partition("/")[0]
        remark = f"the next run {PARTITIONS[kind]} its tracks again"
        if not dry_run:
            remove_folder(folder)
        path = layout.relative(folder)
        problem = f"{finding.path.removeprefix(f'{path}/')} is {finding.problem}"
        done.steps.append(Step(path, problem, "removed", remark))
