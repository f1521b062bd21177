"""Features of other settings than the configured: whether a store has them, and how to make them.

The study of the separation compares feature partitions of several fingerprints in one store. It
extracts nothing itself, because that is a run with workers of its own; it writes the settings of
each that is missing, and says which command makes them.

Public: `FrontEnds`, `settings_text`.
"""

import json
import shlex
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from musichash_core.config import PipelineConfig
from musichash_core.errors import TrainingError
from musichash_core.feature_config import FeatureConfig
from storage.atomic import make_folder, write_file
from storage.evaluations import EvaluationFolder
from storage.extracted import read_extracted
from storage.layout import StoreLayout
from storage.training_cache import training_tracks
from tasks.evaluation_studies import Variant
from tasks.evaluation_tracks import EvaluationTracks, LabelledTracks


@dataclass(frozen=True, slots=True)
class FrontEnds:
    """The features of a store, by the settings that made them.

    Attributes
    ----------
    layout : StoreLayout
    config : PipelineConfig
        The configured settings.
    found : LabelledTracks
        What is evaluated.
    folder : EvaluationFolder
        Where settings are written to, and frames are unpacked.
    """

    layout: StoreLayout
    config: PipelineConfig
    found: LabelledTracks
    folder: EvaluationFolder

    def divide(self, variants: Sequence[Variant]) -> tuple[tuple[Variant, ...], list[str]]:
        """Separate the variants that can be trained from those that want features first.

        Returns
        -------
        present : tuple of Variant
        missing : list of str
            For each of the others what is missing and the command that makes it; the settings file
            that the command names is written.
        """
        present, missing = [], []
        for variant in variants:
            n_missing = self._n_missing(variant.features)
            if not n_missing:
                present.append(variant)
                continue
            path = self._write_settings(variant)
            command = shlex.join(
                ["musichash", "extract", "--store", str(self.layout.root), "--config", str(path)]
            )
            missing.append(
                f"{variant.name}: {n_missing} of {len(self.found.labels)} labelled tracks have no "
                f"such features; make them with: {command}"
            )
        return tuple(present), missing

    @contextmanager
    def tracks_seen_by(
        self, variant: Variant, tracks: EvaluationTracks
    ) -> Iterator[EvaluationTracks]:
        """Give the same tracks, divided the same, with the frames of a variant's features.

        Raises
        ------
        TrainingError
            A track has none.
        """
        if variant.features == self.config.features:
            yield tracks
            return
        fingerprint = self._fingerprint(variant.features)
        reading = self.folder.reading(self.layout)
        with training_tracks(reading, fingerprint, self._partitions(fingerprint)) as read:
            ids = [track.track_id for track in tracks.tracks]
            if [track.track_id for track in read] != ids:
                raise TrainingError(
                    f"{len(read)} tracks have the features of {variant.name!r}, {len(ids)} are "
                    "evaluated; run the evaluation again, it says what to extract"
                )
            yield replace(tracks, tracks=tuple(read))

    def _fingerprint(self, features: FeatureConfig) -> str:
        return self.config.model_copy(update={"features": features}).feature_fingerprint

    def _partitions(self, fingerprint: str) -> dict[str, list[str]]:
        """Say in which partitions the evaluated tracks lie, as far as they have these features."""
        facts = read_extracted(self.layout, fingerprint).facts
        places = zip(facts["track_id"].to_pylist(), facts["partition_id"].to_pylist(), strict=True)
        partitions: dict[str, list[str]] = {}
        for track_id, partition_id in places:
            if track_id in self.found.labels:
                partitions.setdefault(partition_id, []).append(track_id)
        return partitions

    def _n_missing(self, features: FeatureConfig) -> int:
        if features == self.config.features:
            return 0
        partitions = self._partitions(self._fingerprint(features))
        return len(self.found.labels) - sum(map(len, partitions.values()))

    def _write_settings(self, variant: Variant) -> Path:
        path = self.folder.root / "settings" / f"{variant.key}.toml"
        make_folder(path.parent)
        write_file(path, settings_text(self.config, variant).encode("utf-8"))
        return path


def settings_text(config: PipelineConfig, variant: Variant) -> str:
    """Write the settings that extraction reads, as TOML: the configured, and the variant's.

    Only what differs from the defaults; of the models only the encoder, which the features must
    suit.
    """
    tables = {
        "": _changed(config, {"front_end"}),
        "features": _changed(variant.features),
        "decode": _changed(config.decode),
        "partitions": _changed(config.partitions),
        "models": _changed(config.models, {"encoder"}),
    }
    lines = [f"# Features of the study of the separation: {variant.name}."]
    for table, settings in tables.items():
        if table and settings:
            lines += ["", f"[{table}]"]
        # Numbers, strings, truth values and lists of JSON are the same in TOML.
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _changed(settings: BaseModel, names: Set[str] | None = None) -> dict[str, Any]:
    """Give those of some settings, by default all, that differ from the defaults."""
    # Not by a dump, from which settings may be left out by their value.
    return {
        name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
        if (names is None or name in names) and getattr(settings, name) != field.default
    }
