"""The first stage of a run: finding the files of catalogues, or of one collection, with progress.

Public: `scan_stage`, `scan_collection_stage`.
"""

from collections.abc import Callable, Sequence

from flows.progress import Reporter
from flows.wording import describe_passed_by
from tasks.backfill_plan import recorded_files
from tasks.scan import Collection, Found, look, look_in_collection


def scan_stage(
    store: str,
    catalogues: Sequence[str],
    labels: str | None,
    reporter: Reporter,
    *,
    manifest: str | None = None,
    max_file_mb: int,
) -> Found:
    """Find the catalogue's files; writes nothing, so that bad input leaves the store as it was."""
    found = look(
        store,
        catalogues,
        labels=labels,
        manifest=manifest,
        max_file_mb=max_file_mb,
        on_progress=_scanning(reporter),
    )
    return _scanned(found, reporter)


def scan_collection_stage(
    store: str,
    collection: Collection,
    reporter: Reporter,
    *,
    backfill: str,
    max_file_mb: int,
) -> Found:
    """Find the files of one collection; those that its backfill knows are not read again."""
    known = recorded_files(store, backfill)
    found = look_in_collection(
        store, collection, known=known, max_file_mb=max_file_mb, on_progress=_scanning(reporter)
    )
    return _scanned(found, reporter)


def _scanning(reporter: Reporter) -> Callable[[int, int], None]:
    """Give what a scan calls with each file; each root, or collection, is a bar of its own."""
    n_before = 0

    def on_progress(n_done: int, total: int) -> None:
        nonlocal n_before
        if n_before == 0 or n_done <= n_before:
            reporter.start("scan", total, "files")
            n_before = 0
        reporter.advance("scan", n_done - n_before)
        n_before = n_done

    return on_progress


def _scanned(found: Found, reporter: Reporter) -> Found:
    counts = found.counts
    reporter.finish(
        "scan",
        f"{counts['files']} files, {counts['tracks']} tracks, {counts['labels']} labels; "
        f"{counts['hashed']} files read, {counts['unreadable']} unreadable, "
        f"{describe_passed_by(found)}",
    )
    return found
