"""The demonstration: the nightly flow on the sample catalogue, then searches in its result.

Public: `demonstrate`.
"""

from pathlib import Path
from typing import Any

from rich.console import Console

from flows.cluster_settings import ClusterSettings
from flows.nightly import nightly
from flows.progress import RichReporter, reporting
from flows.run_tags import tagged
from flows.sample import SAMPLE_CONFIG, sample_catalogue
from musichash_core.config import load_config
from tasks.search import search_track

QUERIES = ("metal/marsshooter-03-fear.ogg", "ambient/hyperrogue-hr3-caves.ogg")
N_ANSWERS = 4


def demonstrate(store: str, *, cluster: ClusterSettings, console: Console) -> dict[str, Any]:
    """Run the pipeline on the sample catalogue and show what it is good for.

    Raises
    ------
    MusicHashError
        If the sample catalogue is not there, because this is no checkout of the repository.
    """
    music = sample_catalogue()
    with reporting(RichReporter(console)), tagged("nightly", store, [str(music)]):
        account: dict[str, Any] = nightly(
            catalogues=[str(music)],
            store=str(Path(store).absolute()),
            labels=str(music / "labels.csv"),
            config=load_config(SAMPLE_CONFIG),
            cluster=cluster,
        )
    for query in QUERIES:
        answer = search_track(store, query, k=N_ANSWERS)
        console.print(f"\nMost similar to [bold]{query}[/bold]:", highlight=False)
        for match in answer.matches:
            place = Path(match.path).relative_to(music)
            console.print(
                f"  {match.distance:>3} of {answer.n_bits} bits  {match.genre:<11} {place}",
                highlight=False,
            )
    console.print(
        f"\nNext: musichash status --store {store}; musichash failures --store {store}; "
        f"open {Path(store) / 'report.html'}",
        highlight=False,
    )
    return account
