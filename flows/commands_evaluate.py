"""The subcommand that compares methods on held-out tracks: ``evaluate``.

Public: `add_to`.
"""

from typing import Annotated, Any, Literal

import typer

from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from flows.progress import RichReporter
from musichash_core.errors import ParameterError
from musichash_core.plain_text import escape_controls

STAGE = "evaluate"


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(evaluate)


def evaluate(
    store: StoreOption,
    bits: Annotated[
        str, typer.Option("--bits", help="Code lengths: multiples of 8 from 16 to 256.")
    ] = "16,32,48,64",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100, help="Training seeds 0, 1, ... to average.")
    ] = 3,
    methods: Annotated[
        str,
        typer.Option(
            "--methods", help="Some of the methods, by commas; by default all that compete."
        ),
    ] = "",
    unseen: Annotated[
        str, typer.Option("--unseen", help="Genres to hold out whole, separated by commas.")
    ] = "",
    study: Annotated[
        Literal["methods", "inputs", "fusion", "network", "hpss"],
        typer.Option(
            "--study",
            help="All methods; or recognition alone: from O, H, P and their combinations; joined "
            "early or late; by networks of other shapes; with the separation set otherwise.",
        ),
    ] = "methods",
    encoder: Annotated[
        Literal["hpss-cnn", "musicnn"] | None,
        typer.Option(
            "--encoder",
            help="Whose maps the hashing networks read: of the HPSS-CNN, trained here, or of a "
            "pretrained network; by default as configured (models.encoder).",
        ),
    ] = None,
    features: Annotated[
        Literal["descriptors", "last", "all"] | None,
        typer.Option(
            "--features",
            help="What the baselines read: one vector per track (the default with musicnn), or the "
            "pooled maps of the last block (the default with hpss-cnn) or of all.",
        ),
    ] = None,
    split_seed: Annotated[
        int, typer.Option("--split-seed", min=0, help="Decides which groups are on which side.")
    ] = 0,
    split_file: Annotated[
        str | None,
        typer.Option(
            "--split-file",
            help="A data set's own split: CSV with the columns 'path' and 'split', such as the "
            "manifest that 'musichash dataset' writes.",
        ),
    ] = None,
    config: ConfigOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", help="Folder for tables, page and finished rows; in the store by default."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Divide and audit, say what would be done, no more.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare codes and genre recognition on held-out groups; write tables and an HTML page.

    The store's labelled, extracted tracks are divided by group (artist). Networks learn from a part
    of them, all baselines from the same part and the same encoder; searched and asked are others.
    Interrupted at any time, the same command goes on where it stopped.

    [bold]Examples:[/bold]
    musichash evaluate --store ~/music.store --dry-run
    musichash evaluate --store ~/music.store --unseen jazz --output ~/evaluation
    musichash evaluate --store ~/music.store --study inputs
    musichash evaluate --store ~/gtzan.store --split-file gtzan.csv
    """
    from musichash_core.config import load_config
    from tasks.evaluate import evaluate as run_evaluation
    from tasks.evaluation_request import EvaluationRequest
    from tasks.evaluation_text import describe_evaluation

    request = EvaluationRequest(
        bits=_numbers(bits),
        n_seeds=seeds,
        methods=_names(methods),
        unseen_genres=_names(unseen),
        study=study,
        encoder=encoder,
        pooled=features,
        split_seed=split_seed,
        split_file=split_file,
    )
    reporter = _RowReporter(RichReporter(console_for(as_json=as_json)))
    told = run_evaluation(
        store,
        load_config(config),
        request,
        output=output,
        is_dry_run=dry_run,
        on_progress=reporter.tell,
    )
    if as_json:
        write_json(told)
        return
    reporter.finish(told)
    for line in describe_evaluation(told):
        typer.echo(escape_controls(line))


class _RowReporter:
    """Turns units done so far into steps of a progress bar.

    Parameters
    ----------
    reporter : RichReporter
    """

    def __init__(self, reporter: RichReporter) -> None:
        self._reporter = reporter
        self._n_done: int | None = None

    def tell(self, done: int, total: int, what: str) -> None:
        """Move the bar on."""
        if self._n_done is None:
            self._reporter.start(STAGE, total, "rows")
            self._n_done = 0
        if done > self._n_done:
            self._reporter.advance(STAGE, done - self._n_done)
            self._n_done = done

    def finish(self, told: dict[str, Any]) -> None:
        """Take the bar away."""
        about = told["about"]
        n_kept = about["n_units"] - about["n_units_to_do"]
        self._reporter.finish(STAGE, f"{self._n_done or 0} rows made, {n_kept} were there")


def _names(text: str) -> tuple[str, ...]:
    """Split a list at its commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    """Split a list of whole numbers."""
    try:
        return tuple(int(number) for number in _names(text))
    except ValueError as error:
        raise ParameterError(f"--bits {text}: want whole numbers, such as 16,32,64") from error
