"""Small frozen records that pass between the layers.

Nothing here is larger than a few hundred bytes: arrays travel through stores, not through records.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class SourceFile:
    r"""One audio file of a catalogue, as the scan saw it.

    Attributes
    ----------
    track_id : str
        Identity of its bytes (`musichash_core.identity.track_id_of`), 32 hex digits.
    root : str
        Absolute path of the catalogue root.
    path : str
        Path below `root`, with ``/``; bytes that are not UTF-8 are written as ``\xNN``.
    path_raw : bytes
        The path as the file system spells it.
    n_bytes, mtime_ns : int
        Size, and modification time in nanoseconds, when it was read for its identity.
    """

    track_id: str
    root: str
    path: str
    path_raw: bytes
    n_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class TrackFailure:
    """Why one track or file could not be processed: a row of the failures table.

    Attributes
    ----------
    track_id : str
        Identity, or "" when the file could not be read at all.
    path : str
        Where the file lies: root/path.
    stage : str
        ``scan`` or ``extract``.
    code : str
        A key of `musichash_core.failure_codes.FAILURE_CODES`.
    message : str
        What was met, the value, what is allowed.
    attempts : int
        How many runs tried.
    """

    track_id: str
    path: str
    stage: str
    code: str
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One track to extract: where it lies, and how often it was tried before."""

    file: SourceFile
    attempts: int
    estimated_s: float


@dataclass(frozen=True, slots=True)
class Partition:
    """A unit of extraction; becomes one feature store.

    Attributes
    ----------
    partition_id : str
        Hash of its tracks and their attempts.
    items : tuple of WorkItem
        Sorted by track_id.
    """

    partition_id: str
    items: tuple[WorkItem, ...]

    @property
    def estimated_s(self) -> float:
        """Estimated seconds of audio."""
        return sum(item.estimated_s for item in self.items)


def partition_of(items: Sequence[WorkItem]) -> Partition:
    """Make a partition of some tracks; its name follows from them and their attempts."""
    name = partition_name((item.file.track_id, item.attempts) for item in items)
    return Partition(name, tuple(items))


def partition_name(tracks: Iterable[tuple[str, int]]) -> str:
    """Give the name of a partition of some tracks, from their ids and attempts."""
    text = "\n".join(f"{track_id} {attempts}" for track_id, attempts in tracks)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class PartitionSummary:
    """What one unit of work did; small enough to cross a process border by the thousand.

    Attributes
    ----------
    partition_id : str
        The partition worked on.
    n_done, n_failed : int
        Tracks that succeeded and that became failure rows.
    audio_s : float
        Seconds of audio processed.
    cpu_s : float
        CPU seconds of the process spent on it.
    n_bytes : int
        Bytes written.
    peak_memory_bytes : int
        Largest resident size of the worker process so far.
    """

    partition_id: str
    n_done: int
    n_failed: int = 0
    audio_s: float = 0.0
    cpu_s: float = 0.0
    n_bytes: int = 0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What one stage of a run did, summed over its partitions.

    Attributes
    ----------
    stage : str
        Name of the stage.
    n_done, n_reused, n_failed : int
        Tracks processed now, found done already, and failed.
    audio_s, wall_s, cpu_s, gpu_s : float
        Seconds: of audio, by the clock, of CPU over all workers, and of work on a GPU.
    n_workers : int
        Worker processes that could work on it; 0 where none are used.
    n_bytes : int
        Bytes written.
    peak_memory_bytes : int
        Largest resident size of any worker process.
    notes : tuple of str
        Sentences for the operator.
    """

    stage: str
    n_done: int = 0
    n_reused: int = 0
    n_failed: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    n_workers: int = 0
    n_bytes: int = 0
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def numbers(self) -> dict[str, float]:
        """Give everything but name and notes, as the ledger keeps it."""
        numbers = asdict(self)
        del numbers["stage"], numbers["notes"]
        return numbers
