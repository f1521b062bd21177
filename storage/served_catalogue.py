"""The published catalogue, followed: each question is answered by one snapshot, wholly.

The pointer is looked at before a question. When it has moved, the thread that noticed opens the new
snapshot; others go on with the one before, which is closed when its last question is answered. A
snapshot whose files gc removes meanwhile is still answered from: they were open. One that cannot be
opened leaves the one before in service, and `ServedCatalogue.problem` says why, until it is mended
or another is current.

Public: `ServedCatalogue`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from storage.errors import ArtefactMissingError, StoreError
from storage.layout import StoreLayout
from storage.published import require_snapshot
from storage.served_snapshot import ServedSnapshot
from storage.snapshots import Pointer, Snapshot, read_pointer, read_snapshot

CACHE_BYTES = 1 << 29
"""Holds what answers need of about a million tracks."""

OPENING_TRIES = 8
"""How often a new snapshot may be published just while the one before it is opened."""

TRY_AGAIN_S = 10.0
"""Seconds before a snapshot that could not be opened is tried again: it may be mended in place."""


class _Lease:
    """A snapshot in service, and how many questions it is answering."""

    def __init__(self, served: ServedSnapshot, pointer: Pointer | None) -> None:
        self.served = served
        self.pointer = pointer
        self.n_questions = 0
        self.is_retired = False


class ServedCatalogue:
    """A store's published catalogue, for as long as it is open; safe under threads.

    Parameters
    ----------
    number : int, optional
        Serve this snapshot alone; by default the current one, whichever it is.
    look_every_s : >= 0
        Seconds that may pass before the pointer is looked at again; 0 looks before each question,
        which takes some 20 microseconds.
    cache_bytes : int
        Most bytes of decoded columns that are kept.

    Attributes
    ----------
    problem : str or None
        Why the current snapshot is not the one that answers.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If nothing is published, or it is not in order.
    """

    def __init__(
        self,
        layout: StoreLayout,
        *,
        number: int | None = None,
        look_every_s: float = 0.0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.layout = layout
        self.problem: str | None = None
        self._look_every_s = look_every_s
        self._cache_bytes = cache_bytes
        self._is_pinned = number is not None
        self._failed: Pointer | None = None
        self._failed_at = 0.0
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._looked = time.monotonic()
        self._lease: _Lease | None = (
            self._opened() if number is None else _Lease(self._serve(number), None)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the service; a question that is being answered still is."""
        with self._lock:
            lease, self._lease = self._lease, None
        if lease is not None:
            self._retire(lease)

    @contextmanager
    def serving(self) -> Iterator[ServedSnapshot]:
        """Give the snapshot that answers one question, or several that belong together.

        Raises
        ------
        StoreError
            If the catalogue was closed.
        """
        self._follow()
        with self._lock:
            lease = self._lease
            if lease is None:
                raise StoreError(f"the catalogue of {self.layout.root} was closed; open it again")
            lease.n_questions += 1
        try:
            yield lease.served
        finally:
            with self._lock:
                lease.n_questions -= 1
                is_last = lease.is_retired and not lease.n_questions
            if is_last:
                lease.served.close()

    # --- following the pointer -------------------------------------------------------------------

    def _follow(self) -> None:
        now = time.monotonic()
        lease = self._lease
        if self._is_pinned or lease is None or now - self._looked < self._look_every_s:
            return
        self._looked = now
        try:
            pointer = read_pointer(self.layout)
        except StoreError as error:
            self.problem = str(error)
            return
        if pointer is None:
            self.problem = f"{self.layout.current_path} is gone: no snapshot is current"
            return
        if pointer == lease.pointer:
            self.problem = self._failed = None
            return
        if pointer == self._failed and now - self._failed_at < TRY_AGAIN_S:
            return
        if not self._reloading.acquire(blocking=False):
            return  # another thread opens it; meanwhile the one before answers
        try:
            if self._lease is lease:  # else another thread has opened it since we looked
                self._replace(pointer)
        finally:
            self._reloading.release()

    def _replace(self, pointer: Pointer) -> None:
        try:
            fresh = self._opened()
        except StoreError as error:
            self.problem, self._failed, self._failed_at = str(error), pointer, time.monotonic()
            return
        with self._lock:
            before, self._lease = self._lease, fresh if self._lease is not None else None
        self.problem = self._failed = None
        self._retire(fresh if before is None else before)  # closed meanwhile: nobody needs it

    def _retire(self, lease: _Lease) -> None:
        with self._lock:
            lease.is_retired = True
            is_idle = not lease.n_questions
        if is_idle:
            lease.served.close()

    def _opened(self) -> _Lease:
        """Open the current snapshot, whichever it is by the time it is open."""
        for _ in range(OPENING_TRIES - 1):
            pointer = read_pointer(self.layout)
            try:
                return _Lease(self._open(require_snapshot(self.layout)), pointer)
            except ArtefactMissingError:
                if read_pointer(self.layout) == pointer:
                    raise
        return _Lease(self._open(require_snapshot(self.layout)), None)

    def _serve(self, number: int) -> ServedSnapshot:
        return self._open(read_snapshot(self.layout, number))

    def _open(self, snapshot: Snapshot) -> ServedSnapshot:
        return ServedSnapshot(self.layout, snapshot, cache_bytes=self._cache_bytes)
