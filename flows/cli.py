"""The command line ``musichash``: one subcommand per stage, in the order of the pipeline.

Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done with failures (see ``musichash
failures``). Commands import what they need when they run, so that ``--help`` answers at once.
"""

import gc
import sys
from typing import Annotated

import typer

from flows import (
    commands_ask,
    commands_backfill,
    commands_bench,
    commands_dataset,
    commands_duplicates,
    commands_evaluate,
    commands_health,
    commands_index,
    commands_logs,
    commands_metrics,
    commands_models,
    commands_plan,
    commands_replicate,
    commands_run,
    commands_runs,
    commands_search,
    commands_serve,
    commands_server,
    commands_snapshots,
    commands_stages,
)
from flows.environment import prepare_environment
from flows.help_text import reflow_help
from flows.progress import giving_terminal_back
from flows.run_logs import FORMAT_VARIABLE, LEVEL_VARIABLE, LogFormat, LogLevel, logging_to_stderr
from musichash_core.errors import MusicHashError
from musichash_core.plain_text import escape_controls

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

INTERRUPTED = "interrupted; what was finished is kept, the same command goes on from there"

app = typer.Typer(
    name="musichash",
    help="Nightly batch pipeline for music catalogues: HPSS features, genres, hash codes, search.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 done with failures.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(*, is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"musichash {version('musichash')}")
        raise typer.Exit


@app.callback()
def _before_all(
    context: typer.Context,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--log-format",
            envvar=FORMAT_VARIABLE,
            help="Write the log to standard error, as text or JSON lines.",
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            "--log-level",
            envvar=LEVEL_VARIABLE,
            help="Least level of the log on standard error; info where a format is given, else "
            "warning.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda is_asked: _say_version(is_asked=is_asked),
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    context.with_resource(logging_to_stderr(log_format, log_level))


for module in (
    commands_run,
    commands_plan,
    commands_stages,
    commands_backfill,
    commands_search,
    commands_duplicates,
    commands_ask,
    commands_health,
    commands_runs,
    commands_logs,
    commands_metrics,
    commands_replicate,
    commands_evaluate,
    commands_dataset,
    commands_models,
    commands_snapshots,
    commands_index,
    commands_serve,
    commands_server,
    commands_bench,
):
    module.add_to(app)
reflow_help(app)


def main() -> None:
    """Run the command line; turn every error on purpose into one sentence and an exit code."""
    prepare_environment(quiet=True)
    try:
        with giving_terminal_back():
            app()
    except MusicHashError as error:
        _complain(str(error))
        sys.exit(EXIT_USAGE if error.is_wrong_input else EXIT_FAILED)
    except SystemExit as exit_:
        if exit_.code == EXIT_INTERRUPTED:
            _complain(INTERRUPTED)
        raise
    except Exception as error:
        if not was_interrupted(error):
            raise
        _complain(INTERRUPTED)
        sys.exit(EXIT_INTERRUPTED)
    finally:
        # Else the interpreter, ending, looks three times through all that was imported: a second.
        gc.freeze()


def was_interrupted(error: BaseException) -> bool:
    """Tell whether an error only followed from an interruption.

    Prefect, interrupted while it begins a task run, fails over the run that it does not have yet.
    """
    followed: BaseException | None = error
    while followed is not None:
        if isinstance(followed, KeyboardInterrupt):
            return True
        followed = followed.__cause__ or followed.__context__
    return False


def _complain(sentence: str) -> None:
    typer.secho(f"error: {escape_controls(sentence)}", fg=typer.colors.RED, err=True)
