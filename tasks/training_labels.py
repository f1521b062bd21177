"""Which tracks there are to learn from: the labelled ones that have features.

Public: `labelled_rows`, `partitions_of`, `labels_of`, `enough_tracks`, `MIN_TRACKS_PER_LABEL`.
"""

from collections import Counter
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from storage.catalogue import Catalogue
from storage.extracted import extracted_ranges
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE

MIN_TRACKS_PER_LABEL = 2


def labelled_rows(catalogue: Catalogue) -> pa.Table:
    """Give the rows of a catalogue that have a label: the columns track_id, label and group."""
    columns = ("track_id", "label", "group")
    schema = pa.schema([CATALOGUE.field(name) for name in columns])
    labelled = (batch.filter(pc.is_valid(batch["label"])) for batch in catalogue.batches(columns))
    return pa.Table.from_batches(labelled, schema)


def partitions_of(
    layout: StoreLayout, fingerprint: str, track_ids: pa.ChunkedArray
) -> tuple[dict[str, str], int]:
    """Give the partition of each of some tracks that is decoded, and how many are in all."""
    found: dict[str, str] = {}
    n_extracted = 0
    wanted = track_ids.unique()
    with extracted_ranges(layout, fingerprint) as ranges:
        for number in range(ranges.n_ranges):
            facts = ranges.of_range(number).facts
            n_extracted += len(facts)
            chosen = facts.filter(pc.is_in(facts["track_id"], value_set=wanted))
            columns = (chosen[name].to_pylist() for name in ("track_id", "partition_id"))
            found.update(zip(*columns, strict=True))
    return found, n_extracted


def labels_of(
    labelled: pa.Table, decoded: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give label and group per decoded, labelled track; a track of unknown group is its own.

    Of a track with several labelled places the first one counts.
    """
    labels: dict[str, str] = {}
    groups: dict[str, str] = {}
    columns = (labelled[name].to_pylist() for name in ("track_id", "label", "group"))
    for track_id, label, group in zip(*columns, strict=True):
        if track_id in decoded and track_id not in labels:
            labels[track_id] = label
            groups[track_id] = group or track_id
    return labels, groups


def enough_tracks(labels: dict[str, str]) -> tuple[set[str], set[str]]:
    """Give the labels that have enough tracks to learn from, and those that do not."""
    counts = Counter(labels.values())
    kept = {label for label, count in counts.items() if count >= MIN_TRACKS_PER_LABEL}
    return kept, counts.keys() - kept
