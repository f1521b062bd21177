"""A data set as a manifest: what is written, what is told about it, and the command for it."""

import csv
import json

import pytest
import typer
from typer.testing import CliRunner

from flows import commands_dataset
from musichash_core.errors import ParameterError
from storage.catalogue import check_roots
from storage.manifest import read_manifest, scan_manifest
from tasks.dataset import list_datasets, write_manifest

LISTS = {"train": ["blues.00000", "rock.00001"], "valid": ["rock.00002"], "test": ["blues.00003"]}


@pytest.fixture
def gtzan(tmp_path, sounds):
    """Four short tones in the layout of GTZAN, with the lists of the published split."""
    for part, names in LISTS.items():
        lines = [f"{name.split('.')[0]}/{name}.wav\n" for name in names]
        for line in lines:
            y = sounds.tone(sum(line.encode()), duration_s=0.1)
            sounds.write(f"gtzan/genres/{line.strip()}", y, 22_050)
        (tmp_path / "gtzan" / f"{part}_filtered.txt").write_text("".join(lines))
    return tmp_path / "gtzan"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_manifest_is_what_a_run_reads(gtzan, tmp_path):
    written = write_manifest("gtzan", str(gtzan), str(tmp_path / "m.csv"))
    manifest = read_manifest(tmp_path / "m.csv", check_roots([gtzan]))
    result = scan_manifest(manifest)
    rows = result.catalogue.rows
    assert result.failures == ()
    assert [(row.external_id, row.label) for row in rows] == [
        ("blues.00000", "blues"),
        ("blues.00003", "blues"),
        ("rock.00001", "rock"),
        ("rock.00002", "rock"),
    ]
    assert len({row.file.track_id for row in rows}) == 4
    assert manifest.has_labels
    assert (written["tracks"], written["genres"]) == (4, {"blues": 2, "rock": 2})
    assert written["splits"] == {"train": 2, "validation": 1, "test": 1}
    assert written["notes"][0]["kind"] == "faulty"
    json.dumps(written)


def test_one_part_of_the_split_can_be_asked_for(gtzan, tmp_path):
    written = write_manifest("gtzan", str(gtzan), str(tmp_path / "m.csv"), split="train")
    assert [row["id"] for row in read(tmp_path / "m.csv")] == ["blues.00000", "rock.00001"]
    assert written["splits"] == {"train": 2}


@pytest.mark.parametrize(
    ("name", "output", "split", "message"),
    [
        ("gtzan", "m.txt", None, "is not called .csv"),
        ("gtzan", "m.csv", "dev", "no split 'dev' .there are train, validation, test"),
        ("gtzann", "m.csv", None, "did you mean 'gtzan'"),
        ("folder", "m.csv", "train", "no track of a plain folder of music .* the split 'train'"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_written(
    gtzan, tmp_path, name, output, split, message
):
    with pytest.raises(ParameterError, match=message):
        write_manifest(name, str(gtzan), str(tmp_path / output), split=split)
    assert not (tmp_path / output).exists()


def test_every_data_set_says_where_it_comes_from():
    known = list_datasets()
    names = {about["name"] for about in known}
    assert {"gtzan", "fma-small", "ballroom", "extended-ballroom", "magnatagatune"} < names
    assert all(all(about.values()) for about in known)


# --- the command ---


@pytest.fixture
def speak():
    app = typer.Typer(rich_markup_mode="rich")
    commands_dataset.add_to(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_says_what_it_wrote_and_what_it_left_out(speak, gtzan, tmp_path):
    spoken = speak("gtzan", gtzan, "--output", tmp_path / "m.csv")
    assert spoken.exit_code == 0, spoken.output
    assert "4 tracks of GTZAN are in" in spoken.stdout
    assert "2 train, 1 validation, 1 test" in spoken.stdout
    assert "faulty: 995 tracks: the fault-filtered split lists them nowhere" in spoken.stdout
    assert "Tzanetakis" in spoken.stdout
    assert len(read(tmp_path / "m.csv")) == 4


def test_the_command_speaks_json(speak, gtzan, tmp_path):
    spoken = speak("gtzan", gtzan, "--output", tmp_path / "m.csv", "--split", "test", "--json")
    told = json.loads(spoken.stdout)
    assert (told["tracks"], told["manifest"]) == (1, str(tmp_path / "m.csv"))
    assert [about["name"] for about in json.loads(speak("--list", "--json").stdout)] == [
        about["name"] for about in list_datasets()
    ]


def test_the_list_names_layouts_and_wrong_usage_ends_with_2(speak):
    listed = speak("--list").stdout
    assert "gtzan: GTZAN" in listed
    assert "fma_small/NNN/NNNNNN.mp3" in listed
    assert speak("gtzan").exit_code == speak("gtzan", "folder").exit_code == 2
    assert speak().exit_code == 2
