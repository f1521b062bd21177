"""Evaluate: every method on the same split of a store's labelled tracks, as tables and a page.

Reads a store and writes a folder of its own; the store's models and snapshots are left alone.
Public: `evaluate`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musichash_core.config import PipelineConfig
from musichash_core.descriptors import description_fingerprint
from musichash_core.errors import TrainingError
from musichash_core.identity import fingerprint_of
from musichash_core.splits import LEFT_OUT
from storage.evaluations import EVALUATION_FORMAT, EvaluationFolder, read_published_sides
from storage.layout import StoreLayout
from storage.store import open_store
from storage.training_cache import training_tracks
from tasks.evaluation_front_ends import FrontEnds
from tasks.evaluation_methods import (
    PRETRAINED_RECOGNISERS,
    check_methods,
    settings_for,
)
from tasks.evaluation_recognition import (
    RECOGNISERS,
    has_forest,
    judged_positions,
)
from tasks.evaluation_request import EvaluationRequest
from tasks.evaluation_scores import answerable_databases
from tasks.evaluation_studies import STUDIES, Variant, study_variants
from tasks.evaluation_tables import (
    WITHOUT_CLASSICAL,
    Finished,
    method_names,
    recognition_comparisons,
    recognition_rows,
    retrieval_comparisons,
    retrieval_rows,
    summarise,
)
from tasks.evaluation_tracks import (
    EvaluationTracks,
    LabelledTracks,
    divide_tracks,
    labelled_tracks,
)
from tasks.evaluation_work import Progress, Work

RETRIEVAL_FIGURES = (
    *("chance", "map", "map_at_100", "precision_at_10", "precision_at_100", "asymmetric_map"),
    *("radius_2_precision", "radius_2_recall", "radius_2_empty_share", "knn_accuracy"),
    *("n_items", "n_answered", "n_distinct_codes", "largest_bucket_share", "mean_bit_bias"),
    "mean_bit_correlation",
)
RECOGNITION_FIGURES = (
    "n_tracks",
    "accuracy",
    "macro_recall",
    WITHOUT_CLASSICAL,
    "macro_f1",
    "chance",
)


def evaluate(
    store: str,
    config: PipelineConfig,
    request: EvaluationRequest,
    *,
    output: str | None = None,
    is_dry_run: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Divide a store's labelled tracks, train and fit every method, and write what came out.

    Finished rows are kept in the output folder; the same call goes on after an interruption.

    Parameters
    ----------
    output : str, optional
        Folder for rows, tables and page; by default ``evaluation`` (``evaluation-inputs`` and so
        on) in the store.
    is_dry_run : bool
        Say what would be done; train and write nothing (but unpack frames to audit the split, and
        write the settings of features that a study misses).
    on_progress : callable, optional

    Returns
    -------
    dict
        ``about`` (split, settings, limits), ``retrieval``, ``recognition`` and ``comparisons``
        (means over seeds; differences), and ``files``.

    Raises
    ------
    TrainingError
        Too few labels or groups, a leak in the split, or a loss that is not a number; or a study of
        features of which the store has none.
    StoreError
        If the store cannot be read or the folder cannot be written.
    """
    request = request.settled(config.models)
    layout = open_store(store)
    found = labelled_tracks(layout, config.feature_fingerprint)
    name = "evaluation" if request.study == "methods" else f"evaluation-{request.study}"
    root = layout.root / name if output is None else Path(output).absolute()
    from musichash_core.compute_device import choose_device  # loads torch

    with _divided(layout, config, request, found, root) as tracks:
        device = choose_device("auto").type
        folder = EvaluationFolder(root, _fingerprint(tracks, config, request, device))
        about = _about(tracks, found, config, request, folder.fingerprint, device)
        front_ends = FrontEnds(layout, config, found, folder)
        variants, missing = front_ends.divide(study_variants(request.study, config))
        about["absent"] += missing
        units = request.units(variants)
        todo = [unit for unit in units if not folder.has_row(unit.name)]
        about["n_units"], about["n_units_to_do"] = len(units), len(todo)
        if is_dry_run:
            return {"about": about}
        if missing and len(variants) < 2:
            raise TrainingError(f"there is nothing to compare yet: {'; '.join(missing)}")
        work = Work(
            tracks,
            config.models,
            device=device,
            pooled=request.pooled or "last",
            folder=folder,
            on_progress=on_progress or _ignore,
            n_units=len(todo),
            variants=variants,
            front_ends=front_ends,
        )
        for unit in todo:
            folder.keep_row(unit.name, work.do(unit))
        finished = [Finished(unit, folder.finished_row(unit.name) or {}) for unit in units]
        return _conclude(folder, tracks, request, finished, about, variants)


@contextmanager
def _divided(
    layout: StoreLayout,
    config: PipelineConfig,
    request: EvaluationRequest,
    found: LabelledTracks,
    root: Path,
) -> Iterator[EvaluationTracks]:
    """Unpack the frames of the labelled tracks and divide them."""
    folder = EvaluationFolder(root, "")
    folder.make()
    reading = folder.reading(layout)
    file = request.split_file
    published = None if file is None else read_published_sides(Path(file))
    with ExitStack() as stack:
        tagger_tracks = {}
        if request.encoder == "musicnn":
            tagger_tracks = stack.enter_context(
                folder.tagger_tracks(layout, config.feature_fingerprint, found.partitions)
            )
        tracks = stack.enter_context(
            training_tracks(reading, config.feature_fingerprint, found.partitions)
        )
        divided = divide_tracks(
            tracks,
            found,
            unseen_genres=request.unseen_genres,
            published=published,
            seed=request.split_seed,
        )
        of_tracks = (tagger_tracks.get(track.track_id) for track in divided.tracks)
        yield replace(divided, tagger_tracks=tuple(filter(None, of_tracks)))


def _fingerprint(
    tracks: EvaluationTracks, config: PipelineConfig, request: EvaluationRequest, device: str
) -> str:
    """Identify everything that changes a row, but its method, length and seed."""
    models = settings_for(config.models, seed=0, n_bits=64)
    circumstances = {
        "encoder": request.encoder,
        "descriptors": description_fingerprint() if request.encoder == "musicnn" else None,
        "pooled": request.pooled,
        "device": device,
        "musichash": version("musichash"),
    }
    return fingerprint_of(
        *("evaluation", EVALUATION_FORMAT, config.feature_fingerprint, tracks.fingerprint),
        models,
        circumstances,
    )


def _conclude(
    folder: EvaluationFolder,
    tracks: EvaluationTracks,
    request: EvaluationRequest,
    finished: list[Finished],
    about: dict[str, Any],
    variants: Sequence[Variant],
) -> dict[str, Any]:
    """Make tables and page of the finished rows, write them, and give the short form."""
    from tasks.evaluation_page import render_page  # loads Matplotlib

    is_study = request.study != "methods"
    names = method_names([] if is_study else check_methods(request.methods))
    recognisers = (
        RECOGNISERS | PRETRAINED_RECOGNISERS | {variant.key: variant.name for variant in variants}
    )
    retrieval = retrieval_rows(finished, names)
    n_parameters = {one.key: one.n_parameters(len(tracks.genres)) for one in variants}
    recognition = [
        row | {"n_parameters": n_parameters.get(row["method"])}
        for row in recognition_rows(finished, recognisers, tracks.genres)
    ]
    controls = STUDIES[request.study].references if is_study else ("mfcc-rf",)
    judged = judged_positions(tracks)
    comparisons = retrieval_comparisons(tracks, finished, request.bits)
    comparisons += recognition_comparisons(tracks, finished, judged, controls)
    files = folder.write_tables(
        {"retrieval": retrieval, "recognition": recognition, "comparisons": comparisons},
        {"about": about},
    )
    by = ("method", "name", "source", "is_supervised", "n_bits", "database")
    told = {
        "about": about,
        "retrieval": summarise(retrieval, by, RETRIEVAL_FIGURES),
        "recognition": summarise(
            recognition, ("method", "name", "n_parameters"), RECOGNITION_FIGURES
        ),
        "comparisons": comparisons,
        "files": files | {"page": str(folder.page_path)},
    }
    folder.write_page(render_page(told, tracks, finished))
    return told


def _about(
    tracks: EvaluationTracks,
    found: LabelledTracks,
    config: PipelineConfig,
    request: EvaluationRequest,
    fingerprint: str,
    device: str,
) -> dict[str, Any]:
    """Put the circumstances into plain values."""
    left_out = sum(side == LEFT_OUT for side in tracks.divided.sides)
    absent = []
    if not has_forest():
        absent.append("mfcc-rf: scikit-learn is not installed (it comes with the dev extra)")
    return {
        "study": request.study,
        "fingerprint": fingerprint,
        "feature_fingerprint": config.feature_fingerprint,
        "version": version("musichash"),
        "device": device,
        "request": asdict(request) | {"methods": list(check_methods(request.methods))},
        "split": tracks.audit.figures(),
        "n_shared_groups": len(tracks.audit.shared_groups),
        "n_shared_audio_pairs": tracks.audit.figures().get("n_shared_audio_pairs", 0),
        "databases": list(answerable_databases(tracks)),
        "genres": list(tracks.genres),
        "unseen_genres": sorted(request.unseen_genres),
        "left_out_genres": list(tracks.left_out_genres),
        "n_tracks": len(tracks.tracks),
        "n_left_out_tracks": left_out,
        "n_merged_groups": tracks.n_merged_groups,
        "n_tracks_without_group": found.n_without_group,
        "absent": absent,
    }


def _ignore(done: int, total: int, what: str) -> None:
    """Take progress and do nothing."""
