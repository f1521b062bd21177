"""Evaluate: every method on the same split of a store's labelled tracks, as tables and a page.

Reads a store and writes a folder of its own; the store's models and snapshots are left alone.
Public: `evaluate`, `EvaluationRequest`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from musichash_core.identity import fingerprint_of
from musichash_core.splits import LEFT_OUT
from storage.evaluations import EVALUATION_FORMAT, EvaluationFolder, read_published_sides
from storage.layout import StoreLayout
from storage.store import open_store
from storage.training_cache import training_tracks
from tasks.evaluation_methods import (
    INPUT_CHANNELS,
    INPUT_CONTROL,
    check_methods,
    settings_for,
)
from tasks.evaluation_recognition import (
    RECOGNISERS,
    has_forest,
    judged_positions,
)
from tasks.evaluation_scores import answerable_databases
from tasks.evaluation_tables import (
    REAL,
    Finished,
    Unit,
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

Study = Literal["methods", "inputs"]

MIN_BITS, MAX_BITS = 16, 256
"""Lengths that the hashing networks allow."""

RETRIEVAL_FIGURES = (
    *("chance", "map", "map_at_100", "precision_at_10", "precision_at_100", "asymmetric_map"),
    *("radius_2_precision", "radius_2_recall", "radius_2_empty_share", "knn_accuracy"),
    *("n_items", "n_answered", "n_distinct_codes", "largest_bucket_share", "mean_bit_bias"),
    "mean_bit_correlation",
)
RECOGNITION_FIGURES = ("n_tracks", "accuracy", "macro_recall", "macro_f1", "chance")


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes
    ----------
    bits : tuple of int
        Code lengths, multiples of 8 from 16 to 256.
    n_seeds : >= 1
        Training seeds 0, 1, ...; the split is the same for all.
    methods : tuple of str
        Of `tasks.evaluation_methods.METHOD_KEYS`; empty for the usual ones.
    unseen_genres : tuple of str
        Genres held out whole.
    study : "methods" or "inputs"
        Codes and recognition of all methods, or recognition by input channels (METHOD 3).
    pooled : "last" or "all"
        Maps that the baselines' features are pooled from.
    split_seed : >= 0
    split_file : str, optional
        A table with the columns ``path`` and ``split``, as ``musichash dataset`` writes: the data
        set's own split instead of ours.
    """

    bits: tuple[int, ...] = (16, 32, 48, 64)
    n_seeds: int = 3
    methods: tuple[str, ...] = ()
    unseen_genres: tuple[str, ...] = ()
    study: Study = "methods"
    pooled: Literal["last", "all"] = "last"
    split_seed: int = 0
    split_file: str | None = None

    def __post_init__(self) -> None:
        wrong = [n for n in self.bits if n % 8 or not MIN_BITS <= n <= MAX_BITS]
        if wrong or not self.bits or len(set(self.bits)) < len(self.bits):
            raise ParameterError(
                f"bits={list(self.bits)}: want different multiples of 8, {MIN_BITS} to {MAX_BITS}"
            )
        if self.n_seeds < 1 or self.split_seed < 0:
            raise ParameterError(
                f"n_seeds={self.n_seeds}, split_seed={self.split_seed}: want at least 1 and 0"
            )
        if self.split_file is not None and self.unseen_genres:
            raise ParameterError(
                f"unseen_genres={list(self.unseen_genres)} with a split file; a published split "
                "holds no genres out: leave one of them away"
            )
        check_methods(self.methods)

    def units(self) -> list[Unit]:
        """List the work, seed by seed, in the order of the tables."""
        units = []
        for seed in range(self.n_seeds):
            if self.study == "inputs":
                units += [Unit("recognition", key, seed) for key in INPUT_CHANNELS]
                continue
            units.append(Unit("recognition", "hpss-cnn", seed))
            if has_forest():
                units.append(Unit("recognition", "mfcc-rf", seed))
            for method in check_methods(self.methods):
                lengths = (None,) if method == REAL else tuple(sorted(self.bits))
                units += [Unit("retrieval", method, seed, n_bits) for n_bits in lengths]
        return units


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
        Folder for rows, tables and page; by default ``evaluation`` (``evaluation-inputs``) in the
        store.
    is_dry_run : bool
        Say what would be done; train and write nothing (but unpack frames to audit the split).
    on_progress : callable, optional

    Returns
    -------
    dict
        ``about`` (split, settings, limits), ``retrieval``, ``recognition`` and ``comparisons``
        (means over seeds; differences), and ``files``.

    Raises
    ------
    TrainingError
        Too few labels or groups, a leak in the split, or a loss that is not a number.
    StoreError
        If the store cannot be read or the folder cannot be written.
    """
    layout = open_store(store)
    found = labelled_tracks(layout, config.feature_fingerprint)
    name = "evaluation" if request.study == "methods" else f"evaluation-{request.study}"
    root = layout.root / name if output is None else Path(output).absolute()
    from musichash_core.compute_device import choose_device  # loads torch

    with _divided(layout, config, request, found, root) as tracks:
        device = choose_device("auto").type
        folder = EvaluationFolder(root, _fingerprint(tracks, config, request, device))
        about = _about(tracks, found, config, request, folder.fingerprint, device)
        units = request.units()
        todo = [unit for unit in units if not folder.has_row(unit.name)]
        about["n_units"], about["n_units_to_do"] = len(units), len(todo)
        if is_dry_run:
            return {"about": about}
        work = Work(
            tracks,
            config.models,
            device=device,
            pooled=request.pooled,
            on_progress=on_progress or _ignore,
            n_units=len(todo),
        )
        for unit in todo:
            folder.keep_row(unit.name, work.do(unit))
        finished = [Finished(unit, folder.finished_row(unit.name) or {}) for unit in units]
        return _conclude(folder, tracks, request, finished, about)


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
    with training_tracks(reading, config.feature_fingerprint, found.partitions) as tracks:
        yield divide_tracks(
            tracks,
            found,
            unseen_genres=request.unseen_genres,
            published=published,
            seed=request.split_seed,
        )


def _fingerprint(
    tracks: EvaluationTracks, config: PipelineConfig, request: EvaluationRequest, device: str
) -> str:
    """Identify everything that changes a row, but its method, length and seed."""
    models = settings_for(config.models, seed=0, n_bits=64)
    circumstances = {"pooled": request.pooled, "device": device, "musichash": version("musichash")}
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
) -> dict[str, Any]:
    """Make tables and page of the finished rows, write them, and give the short form."""
    from tasks.evaluation_page import render_page  # loads Matplotlib

    names = method_names([] if request.study == "inputs" else check_methods(request.methods))
    recognisers = RECOGNISERS | {key: key for key in INPUT_CHANNELS}
    retrieval = retrieval_rows(finished, names)
    recognition = recognition_rows(finished, recognisers)
    controls = ("mfcc-rf",) if request.study == "methods" else (INPUT_CONTROL, "O")
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
        "recognition": summarise(recognition, ("method", "name"), RECOGNITION_FIGURES),
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
    if request.study == "methods" and not has_forest():
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
