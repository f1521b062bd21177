"""What is known of the health of the codes of snapshots.

A record is kept below ``work/health``, named by the digest of its snapshot's content. It is a
cache: nothing lists it, a snapshot without one is measured again when it is asked for. It holds no
time, and whoever measures the same snapshots writes the same bytes.

Public: `HealthRecord`, `CanaryRecord`, `Earlier`, `read_health`, `write_health`, `health_path`,
`unneeded_health_records`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musichash_core.errors import MusicHashError
from musichash_core.health_config import HealthConfig
from musichash_core.health_figures import HealthFigures
from storage.atomic import read_json, to_json
from storage.errors import DamagedArtefactError, StoreError
from storage.kept_work import keep_json
from storage.layout import StoreLayout
from storage.snapshots import Snapshot

HEALTH_FORMAT = 1
NAME_DIGITS = 24
"""Of a digest, as in the names of all files that are named by their content."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The snapshot that another was compared with."""

    snapshot: int
    generation: str
    digest: str


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """One track that is searched for in every snapshot, and the others that were nearest.

    Attributes
    ----------
    track_id, genre : str
    finds_itself : bool
        Whether it was among the answers, at distance 0.
    neighbours : tuple of (str, int)
        Track ids and Hamming distances, nearest first, without the track itself.
    """

    track_id: str
    genre: str
    finds_itself: bool
    neighbours: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """The health of the codes of one snapshot.

    Attributes
    ----------
    digest, generation : str
        Of the snapshot.
    figures : HealthFigures
    bit_means : tuple of float
        Share of ones of each bit.
    largest_bucket_tracks : tuple of str
        Some of the tracks with the most frequent code, by id.
    canaries : tuple of CanaryRecord
    before : Earlier or None
        The snapshot that it was compared with.
    thresholds : HealthConfig
        Those of the run that published it.
    """

    digest: str
    generation: str
    figures: HealthFigures
    bit_means: tuple[float, ...]
    largest_bucket_tracks: tuple[str, ...]
    canaries: tuple[CanaryRecord, ...]
    before: Earlier | None
    thresholds: HealthConfig

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form, as reading what was written would."""
        content = asdict(self) | {"thresholds": self.thresholds.model_dump()}
        plain: dict[str, Any] = json.loads(to_json(content))
        return plain


def health_path(layout: StoreLayout, digest: str) -> Path:
    """Give the place of the record of a snapshot with that digest."""
    return _health_root(layout) / f"{digest[:NAME_DIGITS]}.json"


def _health_root(layout: StoreLayout) -> Path:
    return layout.work_root / "health"


def write_health(layout: StoreLayout, record: HealthRecord) -> None:
    """Keep a record, durably, in place of what was kept of the same snapshot.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    path = health_path(layout, record.digest)
    content = {"format": HEALTH_FORMAT, **record.as_dict()}
    keep_json(path, content, "the health of the codes")


def read_health(layout: StoreLayout, snapshot: Snapshot) -> HealthRecord | None:
    """Read what is kept of a snapshot; None when there is nothing that can be read.

    It can be measured again at any time, so nothing fails for want of it.
    """
    try:
        content = read_json(health_path(layout, snapshot.digest))
        return _record_of(content, snapshot.digest)
    except (StoreError, MusicHashError, OSError, TypeError, KeyError, ValueError):
        return None


def _record_of(content: dict[str, Any], digest: str) -> HealthRecord:
    if (content["format"], content["digest"]) != (HEALTH_FORMAT, digest):
        raise DamagedArtefactError(f"a record of {digest} is of another format or snapshot")
    before = content["before"]
    return HealthRecord(
        digest=digest,
        generation=content["generation"],
        figures=HealthFigures.from_dict(content["figures"]),
        bit_means=tuple(content["bit_means"]),
        largest_bucket_tracks=tuple(content["largest_bucket_tracks"]),
        canaries=tuple(
            CanaryRecord(
                **entry | {"neighbours": tuple((name, bits) for name, bits in entry["neighbours"])}
            )
            for entry in content["canaries"]
        ),
        before=None if before is None else Earlier(**before),
        thresholds=HealthConfig.model_validate(content["thresholds"]),
    )


def unneeded_health_records(layout: StoreLayout, kept_digests: Iterable[str]) -> Iterator[Path]:
    """Give the records of snapshots of other digests."""
    wanted = {health_path(layout, digest) for digest in kept_digests}
    root = _health_root(layout)
    if root.is_dir():
        for path in sorted(root.glob("*.json")):
            if path not in wanted:
                yield path
