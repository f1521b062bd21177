"""Subcommands for the Prefect server: ``server`` and what belongs to it.

Public: `add_to`.
"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from flows.options import JsonOption, write_json
from flows.server_connection import HOME_VARIABLE
from flows.server_state import Running, ServerError, StateFolder

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar=HOME_VARIABLE,
        help="Folder of the server's credentials and database; by default "
        "$XDG_STATE_HOME/musichash or ~/.local/state/musichash.",
    ),
]
PortOption = Annotated[
    int, typer.Option("--port", min=1, max=65535, help="Port that the server listens at.")
]

server_app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    server_app.callback()(server)
    for command in (credentials, rotate, status):
        server_app.command()(command)
    app.add_typer(server_app, name="server", rich_help_panel="Operation")


def server(
    context: typer.Context,
    home: HomeOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; other machines cannot reach it.")
    ] = "127.0.0.1",
    port: PortOption = 4200,
    behind_tls_proxy: Annotated[
        str | None,
        typer.Option(
            "--behind-tls-proxy",
            metavar="https://NAME",
            help="Origin of the TLS proxy in front, which browsers see; any --host needs it that "
            "other machines can reach.",
        ),
    ] = None,
    database_file: Annotated[
        Path | None,
        typer.Option(
            "--database-file",
            help="File (mode 0600) that holds the URL of a Postgres database, "
            "postgresql+asyncpg://USER:PASSWORD@HOST/NAME; or set MUSICHASH_DATABASE_URL. Without "
            "either, an SQLite database in the state folder.",
        ),
    ] = None,
    keep_days: Annotated[
        int,
        typer.Option("--keep-days", min=1, help="Remove runs from the database after so long."),
    ] = 90,
) -> None:
    """Start the Prefect server, with its pages, for this user: with credentials, on this machine.

    Runs until Ctrl-C or SIGTERM. Credentials are made at random at the first start; browsers ask
    for them once. Other commands use this server where MUSICHASH_SERVER=on is set.

    [bold]Examples:[/bold]
    musichash server --port 4300
    musichash server --host 0.0.0.0 --behind-tls-proxy https://music.example.org
    musichash server credentials --show
    """
    if context.invoked_subcommand is not None:
        return
    from flows.server_process import check_database, serve_until_signal
    from flows.server_settings import ServerSettings, check_addresses, database_from

    settings = ServerSettings(
        host=host,
        port=port,
        proxy=None if behind_tls_proxy is None else behind_tls_proxy.rstrip("/"),
        keep_days=keep_days,
        database=database_from(database_file),
    )
    check_addresses(settings)
    state = StateFolder(home)
    state.prepare()
    if settings.database is not None:
        check_database(settings.database)
    kept = "SQLite" if settings.database is None else settings.database.shown
    typer.echo(f"starting Prefect's server ({kept}); state in {state.path}", err=True)
    serve_until_signal(settings, state, lambda running, said: _announce(running, said, state))
    typer.echo("the server has ended", err=True)


def _announce(running: Running, said: list[str], state: StateFolder) -> None:
    typer.echo(f"the server is healthy: {running.ui_url}")
    for line in (*said, *_client_lines(running, state)):
        typer.echo(line)


def _client_lines(running: Running | None, state: StateFolder) -> list[str]:
    where = shlex.quote(str(state.credentials))
    lines = [
        "  other musichash commands of this user: export MUSICHASH_SERVER=on",
        "  Prefect's own commands:",
        *([] if running is None else [f"    export PREFECT_API_URL={running.api_url}"]),
        f'    export PREFECT_API_AUTH_STRING="$(cat {where})"',
        "  a browser asks once for the line that 'musichash server credentials --show' prints",
    ]
    if state.path != StateFolder().path:
        lines.insert(1, f"    and export {HOME_VARIABLE}={shlex.quote(str(state.path))}")
    return lines


def credentials(
    home: HomeOption = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the credentials themselves, for a login.")
    ] = False,
) -> None:
    """Say where the server's credentials are, and how programs use them.

    [bold]Examples:[/bold]
    musichash server credentials --show
    musichash server credentials --home /var/lib/musichash
    """
    state = StateFolder(home)
    secret = state.secret()
    if show:
        typer.echo(secret)
        return
    typer.echo(str(state.credentials))
    for line in _client_lines(state.running(), state):
        typer.echo(line)


def rotate(home: HomeOption = None) -> None:
    """Make new credentials; the old ones end with this.

    The server must not run: its clients, a run at work among them, hold the old ones.

    [bold]Example:[/bold] musichash server rotate --home /var/lib/musichash
    """
    state = StateFolder(home)
    state.prepare()
    with state.held():
        state.new_secret()
    typer.echo(
        f"new credentials in {state.credentials}; start the server again, and whatever was told "
        "the old ones"
    )


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say whether the server runs, and where; exit code 1 if it does not.

    [bold]Example:[/bold] musichash server status --json
    """
    from flows.server_process import answers

    state = StateFolder(home)
    running = state.running()
    is_healthy = running is not None and answers(running.api_url)
    if as_json:
        write_json(
            {
                "home": str(state.path),
                "healthy": is_healthy,
                "pid": None if running is None else running.pid,
                "api_url": None if running is None else running.api_url,
                "ui_url": None if running is None else running.ui_url,
            }
        )
        raise typer.Exit(0 if is_healthy else 1)
    if running is None:
        is_starting = state.is_held()
        raise ServerError(
            f"no server of the state folder {state.path} "
            + (
                "answers yet: it is starting"
                if is_starting
                else "runs; start one with 'musichash server'"
            )
        )
    if not is_healthy:
        raise ServerError(
            f"the server at {running.api_url} (process {running.pid}) does not answer"
        )
    typer.echo(f"healthy at {running.ui_url}, process {running.pid}")
