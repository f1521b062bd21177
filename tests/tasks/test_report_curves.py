"""The learning curves for the Prefect UI: the figures of the card, and a chart on light ground."""

import base64
import io
import re
from dataclasses import asdict, replace

import pytest
from PIL import Image

from musichash_core.training_records import StageSummary, TrainingSummary
from storage.atomic import write_json
from storage.errors import ArtefactMissingError
from storage.generations import MODEL_FORMAT
from storage.store import open_store
from tasks.report_curves import learning_curves_markdown

SUMMARY = TrainingSummary(
    genres=("jazz", "rock"),
    tracks_per_genre=(5, 7),
    validation_tracks_per_genre=(1, 2),
    n_parameters_genre=10,
    n_parameters_hash=20,
    validation_track_ids=("a", "b", "c"),
    genre_stage=StageSummary("track accuracy", (1.5, 1.25, 1.0), (0.25, 0.75, 0.5), 2),
    hash_stage=StageSummary("mAP of genre and track", (4.0, 3.5), (), 2),
    validation_accuracy=0.75,
    validation_macro_f1=0.7,
    chance_accuracy=2 / 3,
    confusion=((1, 0), (1, 1)),
    validation_map=None,
    chance_map=None,
    map_database="validation",
)
NO_EPOCHS = StageSummary("track accuracy", (), (), 0)


@pytest.fixture
def curves(store):
    """Give the Markdown of a generation with some account of its training."""

    def of(account):
        card = {"format": MODEL_FORMAT, "summary": account}
        write_json(open_store(store).model_path("g-1") / "model.json", card)
        return learning_curves_markdown(store, "g-1")

    return of


def test_the_table_has_the_figures_of_the_epoch_that_was_kept(curves):
    rows = [line for line in curves(asdict(SUMMARY)).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len({len(row) for row in cells}) == 1
    assert cells[2:] == [
        ["genre", "3", "2", "1.500", "1.250", "track accuracy", "0.750", "0.667"],
        ["hash", "2", "2", "4.000", "3.500", "mAP of genre and track", "–", "–"],
    ]
    assert "9 tracks to learn from, 3 held out" in curves(asdict(SUMMARY))


def test_the_chart_can_be_read_on_a_dark_page(curves):
    (encoded,) = re.findall(r"!\[[^]]+\]\(data:image/png;base64,([^)]+)\)", curves(asdict(SUMMARY)))
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    assert image.getpixel((1, 1)) == (255, 255, 255, 255)
    assert image.getextrema()[3] == (255, 255)  # nowhere transparent
    assert len(image.getcolors(1 << 20)) > 50  # and not empty


def test_only_stages_with_epochs_are_shown(curves):
    hash_only = curves(asdict(replace(SUMMARY, genre_stage=NO_EPOCHS)))
    assert "| hash |" in hash_only
    assert "| genre |" not in hash_only
    assert curves(asdict(replace(SUMMARY, genre_stage=NO_EPOCHS, hash_stage=NO_EPOCHS))) is None
    assert curves({"default_model": {"name": "any"}}) is None


def test_a_generation_that_is_not_there_is_named(store):
    with pytest.raises(ArtefactMissingError, match="g-2"):
        learning_curves_markdown(store, "g-2")
