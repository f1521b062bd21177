"""The model generations of a store: what each is, and what it has of the published tracks.

Public: `describe_generations`, `named_generation`, `generation_in_force`.
"""

from datetime import UTC, datetime
from typing import Any

from storage.comparisons import read_comparison
from storage.encoded_store import encoded_track_ids
from storage.errors import StoreError
from storage.generations import (
    FIRST_ENCODER,
    code_length,
    find_generation,
    list_generations,
    read_model_card,
    selected_generation,
)
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.published import read_table
from storage.snapshots import current_snapshot, list_snapshots, read_snapshot
from storage.store import open_store
from tasks.default_model import is_default_model

IN_FORCE, EARLIER, CANDIDATE = "in force", "earlier", "candidate"


def named_generation(store: str, name: str) -> str:
    """Give the generation of a store that a name, or the beginning of one, stands for."""
    return find_generation(open_store(store), name)


def generation_in_force(store: str) -> str | None:
    """Give the generation that the next snapshot will use; None when no model is trained yet."""
    return selected_generation(open_store(store))


def describe_generations(store: str) -> list[dict[str, Any]]:
    """Describe every generation of a store, the oldest first; a damaged one says so.

    Returns
    -------
    list of dict
        ``stored`` is when its files were written on this disk; ``n_encoded`` counts the published
        tracks that have codes of it; ``comparison`` is the one stored with the one in force.
    """
    layout = open_store(store)
    in_force = selected_generation(layout)
    published = _published_ids(layout)
    snapshots: dict[str, list[int]] = {}
    for number in list_snapshots(layout):
        snapshots.setdefault(read_snapshot(layout, number).generation, []).append(number)
    described = [
        {
            "generation": generation,
            "state": _state(generation, in_force, snapshots),
            "stored": _stored(layout, generation),
            **_facts(layout, generation),
            "n_published": len(published),
            "n_encoded": len(published & encoded_track_ids(layout, generation)),
            "snapshots": snapshots.get(generation, []),
            "comparison": _summary(layout, in_force, generation),
        }
        for generation in list_generations(layout)
    ]
    return sorted(described, key=lambda entry: (entry["stored"], entry["generation"]))


def _published_ids(layout: StoreLayout) -> set[str]:
    """Give the published tracks that have features."""
    snapshot = current_snapshot(layout)
    if snapshot is None:
        return set()
    return set(read_table(layout, snapshot, "codes")["track_id"].to_pylist())


def _state(generation: str, in_force: str | None, snapshots: dict[str, list[int]]) -> str:
    if generation == in_force:
        return IN_FORCE
    return EARLIER if generation in snapshots else CANDIDATE


def _stored(layout: StoreLayout, generation: str) -> str:
    """Tell when the files were written; nothing stored in a generation holds a time."""
    written = (layout.model_path(generation) / RECEIPT_NAME).stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")


def _facts(layout: StoreLayout, generation: str) -> dict[str, Any]:
    try:
        card = read_model_card(layout, generation)
        summary = card["summary"]
        return {
            "encoder": card.get("encoder", FIRST_ENCODER),
            "n_bits": code_length(card),
            "genres": card["genres"],
            "feature_fingerprint": card["feature_fingerprint"],
            "description_fingerprint": card.get("description_fingerprint"),
            "origin": "default" if is_default_model(layout, generation) else "trained here",
            "n_trained_on": sum(summary.get("tracks_per_genre", [])),
            "validation": {
                "n_tracks": len(summary.get("validation_track_ids", [])),
                "accuracy": summary.get("validation_accuracy"),
                "macro_f1": summary.get("validation_macro_f1"),
                "map": summary.get("validation_map"),
            },
            "problem": None,
        }
    except (StoreError, KeyError, TypeError) as error:
        return {"problem": f"its card cannot be read: {error}"}


def _summary(layout: StoreLayout, first: str | None, second: str) -> dict[str, Any] | None:
    """Give the main figures of the stored comparison with the generation in force, if any."""
    if first is None or first == second:
        return None
    comparison = read_comparison(layout, first, second)
    if comparison is None:
        return None
    return {
        "with": first,
        "agreement": comparison["predictions"]["agreement"],
        "kappa": comparison["predictions"]["kappa"],
        "neighbour_overlap": comparison["neighbours"]["overlap"],
        "k": comparison["neighbours"]["k"],
    }
