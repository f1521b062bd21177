"""The path of every artefact under a store root; nobody else joins paths.

Public: `StoreLayout`, `STORE_FORMAT`.
"""

from dataclasses import dataclass
from pathlib import Path

STORE_FORMAT = 2
"""Version of the layout and of the tables as a whole; a store of another version is refused."""

RECEIPT_NAME = "receipt.json"


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Where everything lies below one store root.

    Attributes
    ----------
    root : Path
        The store's folder.
    """

    root: Path

    @property
    def marker_path(self) -> Path:
        """File that makes a folder a store and names its format."""
        return self.root / "musichash-store.json"

    @property
    def lock_path(self) -> Path:
        """File that the one writing run holds locked."""
        return self.root / ".lock"

    @property
    def beside_lock_path(self) -> Path:
        """File that the one backfill beside the writing run holds locked."""
        return self.root / ".lock-beside"

    @property
    def origin_path(self) -> Path:
        """Note of the replica that a folder was fetched from; no store of one's own has it."""
        return self.root / "fetched.json"

    # --- published ---------------------------------------------------------------------------

    @property
    def current_path(self) -> Path:
        """Pointer to the published snapshot."""
        return self.root / "CURRENT"

    @property
    def snapshots_root(self) -> Path:
        """Folder of the snapshot manifests."""
        return self.root / "snapshots"

    def snapshot_path(self, number: int) -> Path:
        """Manifest of one snapshot."""
        return self.snapshots_root / f"{number:06d}.json"

    def table_root(self, table: str) -> Path:
        """Folder of a table's parts, which are named by their content."""
        return self.root / "tables" / table

    def table_part_path(self, table: str, digest: str) -> Path:
        """One immutable part of a table."""
        return self.table_root(table) / f"{digest[:24]}.parquet"

    @property
    def index_root(self) -> Path:
        """Folder of the search indexes, which are named by their content."""
        return self.root / "index"

    def index_path(self, digest: str) -> Path:
        """One FAISS index file; its info lies beside it."""
        return self.index_root / f"{digest[:24]}.faiss"

    def index_info_path(self, digest: str) -> Path:
        """File beside an index that says what is in it and how well it answers."""
        return self.index_root / f"{digest[:24]}.json"

    def index_changes_path(self, digest: str) -> Path:
        """File beside an index of several parts that says which of its codes died or were added."""
        return self.index_root / f"{digest[:24]}.parquet"

    @property
    def collections_path(self) -> Path:
        """Register of the collections that every run scans."""
        return self.root / "collections.json"

    # --- rebuildable -------------------------------------------------------------------------

    def features_root(self, feature_fingerprint: str) -> Path:
        """Folder of the feature partitions made with one configuration."""
        return self.root / "features" / feature_fingerprint

    def feature_partition_path(self, feature_fingerprint: str, partition_id: str) -> Path:
        """One partition: features, facts, failures, receipt."""
        return self.features_root(feature_fingerprint) / partition_id

    def descriptions_root(self, feature_fingerprint: str, description_fingerprint: str) -> Path:
        """Folder of the descriptions made in one way of the features of one configuration."""
        name = f"{feature_fingerprint}-{description_fingerprint}"
        return self.root / "descriptions" / name

    def description_partition_path(
        self, feature_fingerprint: str, description_fingerprint: str, partition_id: str
    ) -> Path:
        """Descriptions of the tracks of one partition, with their receipt."""
        root = self.descriptions_root(feature_fingerprint, description_fingerprint)
        return root / partition_id

    def encoded_root(self, generation: str) -> Path:
        """Folder of the predictions and codes made with one model generation."""
        return self.root / "encoded" / generation

    def encoded_partition_path(self, generation: str, partition_id: str) -> Path:
        """Predictions and codes of one partition, with their receipt."""
        return self.encoded_root(generation) / partition_id

    @property
    def models_root(self) -> Path:
        """Folder of the model generations."""
        return self.root / "models"

    def model_path(self, generation: str) -> Path:
        """Folder of one model generation."""
        return self.models_root / generation

    # --- of the current work -----------------------------------------------------------------

    @property
    def work_root(self) -> Path:
        """Folder of what a run has found and not yet published."""
        return self.root / "work"

    @property
    def catalogue_path(self) -> Path:
        """Files found by the last scan."""
        return self.work_root / "catalogue.parquet"

    @property
    def scan_failures_path(self) -> Path:
        """Files that the last scan could not read."""
        return self.work_root / "scan_failures.parquet"

    @property
    def generation_path(self) -> Path:
        """Name of the model generation that the next snapshot will use."""
        return self.work_root / "generation.json"

    def facts_cache_path(self, feature_fingerprint: str) -> Path:
        """Facts of all tracks of one feature configuration, as they were last read."""
        return self.work_root / f"facts-{feature_fingerprint}.parquet"

    def failures_cache_path(self, feature_fingerprint: str) -> Path:
        """Failures of one feature configuration, as they were last read."""
        return self.work_root / f"failures-{feature_fingerprint}.parquet"

    def comparison_path(self, first: str, second: str) -> Path:
        """How far a second model generation agrees with a first one."""
        return self.work_root / "comparisons" / f"{first}--{second}.json"

    @property
    def training_cache_path(self) -> Path:
        """Raw frames of the labelled tracks while a model trains; named so that it is swept."""
        return self.work_root / ".tmp-training-frames.u8"

    @property
    def garbage_note_path(self) -> Path:
        """What a garbage collection that is not finished must still remove."""
        return self.work_root / "gc.json"

    @property
    def replicas_path(self) -> Path:
        """Digests of the manifests that were sent to each replica last."""
        return self.work_root / "replicas.json"

    @property
    def backfills_root(self) -> Path:
        """Folder of the backfills, begun and finished."""
        return self.work_root / "backfills"

    def backfill_path(self, name: str) -> Path:
        """Plan and state of one backfill."""
        return self.backfills_root / name

    @property
    def runs_root(self) -> Path:
        """Folder of the ledger: one record per run, and its log."""
        return self.root / "runs"

    def run_path(self, run_id: str) -> Path:
        """Ledger record of one run."""
        return self.runs_root / f"{run_id}.json"

    def run_log_path(self, run_id: str) -> Path:
        """Log of one run, in JSON lines."""
        return self.runs_root / f"{run_id}.jsonl"

    def metrics_path(self, extension: str) -> Path:
        """Figures of the store as they were when the last run ended, for a monitoring system."""
        return self.runs_root / "metrics" / f"metrics.{extension}"

    @property
    def report_path(self) -> Path:
        """Where the HTML report is written by default."""
        return self.root / "report.html"

    def relative(self, path: Path) -> str:
        """Give a path as manifests write it: below the root, with ``/``."""
        return path.relative_to(self.root).as_posix()
