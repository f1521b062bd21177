"""The command line as an operator meets it: help, bad input, JSON, exit codes."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
import typer.main

from flows import cli
from tasks.ledger import holding

pytestmark = pytest.mark.integration


def commands(group=None, path=()):
    """Every command line that has help: names -> click command."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
ONE_SENTENCE = re.compile(r"error: [^\n]+\n")


def complaint(spoken, code):
    """What a refused command says: one line on standard error, nothing on standard output."""
    assert spoken.code == code, spoken.err
    assert "Traceback" not in spoken.err
    assert spoken.out == ""
    assert ONE_SENTENCE.fullmatch(spoken.err), spoken.err
    return spoken.err


# --- help ---


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_has_a_summary_and_an_example_that_names_the_command(musichash, names):
    spoken = musichash(*names, "--help")
    assert spoken.code == 0
    assert re.search(r"Examples?:", spoken.out)
    assert f"musichash {' '.join(names)} " in spoken.out
    assert len(COMMANDS[names].help.split("\n")[0]) > 20


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_lines_of_help_are_as_long_as_the_terminal_allows(musichash, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for names in (("run",), ("models", "rollback"), ("server",)):
        command = typer.main.get_command(cli.app)
        for name in names:
            command = command.commands[name]
        spoken = [line.strip() for line in musichash(*names, "--help").out.splitlines()]
        for paragraph in command.callback.__doc__.split("\n\n"):
            if "[bold]" not in paragraph:
                lines = textwrap.wrap(
                    " ".join(paragraph.split()), width - 2, break_on_hyphens=False
                )
                at = spoken.index(lines[0])
                assert spoken[at : at + len(lines)] == lines


def test_without_arguments_the_commands_are_listed(musichash):
    spoken = musichash()
    for names in COMMANDS:
        assert names[0] in spoken.out


def test_exit_codes_are_in_the_help(musichash):
    assert "0 done, 1 failed, 2 wrong usage or input, 3 done with failures" in (
        musichash("--help").out
    )


@pytest.mark.parametrize("arguments", [["nosuch"], ["run"], ["status", "--nosuch"]])
def test_wrong_usage_ends_with_2(musichash, arguments):
    assert musichash(*arguments).code == 2


def test_an_interrupted_command_says_that_it_can_go_on(musichash, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.status.store_status", interrupted)
    spoken = musichash("status", "--store", "x")
    assert spoken.code == 130
    assert "the same command goes on from there" in spoken.err


# --- bad input of a run ---


def bad_catalogue(tmp_path, tones):
    return ["--catalogue", tmp_path / "nowhere"], 2, "nowhere does not exist; check the path"


def catalogue_is_a_file(tmp_path, tones):
    return ["--catalogue", tones / "hum" / "0.wav"], 2, "is not a folder"


def empty_catalogue(tmp_path, tones):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "cover.jpg").write_bytes(b"x")
    return ["--catalogue", tmp_path / "empty"], 2, r"no audio file .* \(1 other files do\)"


def nested_catalogues(tmp_path, tones):
    arguments = ["--catalogue", tones, "--catalogue", tones / "hum"]
    return arguments, 2, "lies inside"


def config_is_missing(tmp_path, tones):
    arguments = ["--catalogue", tones, "--config", tmp_path / "no.toml"]
    return arguments, 2, "no.toml does not exist; check --config"


def config_is_no_toml(tmp_path, tones):
    (tmp_path / "bad.toml").write_text("a = = 1")
    return ["--catalogue", tones, "--config", tmp_path / "bad.toml"], 2, "is not valid TOML"


def config_has_an_unknown_key(tmp_path, tones):
    (tmp_path / "key.toml").write_text("[models.crnn_hash]\nn_bit = 64\n")
    arguments = ["--catalogue", tones, "--config", tmp_path / "key.toml"]
    return arguments, 2, r"unknown key 'models\.crnn_hash\.n_bit'; did you mean 'n_bits'\?"


def config_has_a_value_out_of_range(tmp_path, tones):
    (tmp_path / "value.toml").write_text("[models.crnn_hash]\nn_bits = 512\n")
    arguments = ["--catalogue", tones, "--config", tmp_path / "value.toml"]
    return arguments, 2, r"models\.crnn_hash\.n_bits = 512: .*less than or equal to 256"


def config_contradicts_itself(tmp_path, tones):
    (tmp_path / "relation.toml").write_text("[features]\nfmax_hz = 20000\n")
    arguments = ["--catalogue", tones, "--config", tmp_path / "relation.toml"]
    return arguments, 2, "20000"


def labels_are_missing(tmp_path, tones):
    arguments = ["--catalogue", tones, "--labels", tmp_path / "no.csv"]
    return arguments, 2, r"no\.csv does not exist; check --labels"


def labels_name_missing_tracks(tmp_path, tones):
    path = tmp_path / "labels.csv"
    path.write_text("track path,label\nhum/0.wav,hum\nhum/gone.wav,hum\n")
    return ["--catalogue", tones, "--labels", path], 2, r"1 track\(s\) .* 'hum/gone\.wav'; .*remove"


def labels_lack_a_column(tmp_path, tones):
    path = tmp_path / "columns.csv"
    path.write_text("file,label\nhum/0.wav,hum\n")
    return ["--catalogue", tones, "--labels", path], 2, "lacks 'track path'"


def manifest_is_missing(tmp_path, tones):
    arguments = ["--catalogue", tones, "--manifest", tmp_path / "no.csv"]
    return arguments, 2, r"the manifest .*no\.csv does not exist; check --manifest"


def manifest_has_a_misspelt_column(tmp_path, tones):
    path = tmp_path / "tonight.jsonl"
    path.write_text('{"path": "hum/0.wav", "lable": "hum"}\n')
    return ["--catalogue", tones, "--manifest", path], 2, r"'lable'; did you mean 'label'\?"


def manifest_names_nothing_that_is_there(tmp_path, tones):
    path = tmp_path / "tonight.csv"
    path.write_text('path\n"../\x1b[2J\u202e"\nhum/gone.wav\n')
    return ["--catalogue", tones, "--manifest", path], 2, r"not one of the 2 files"


@pytest.mark.parametrize(
    "case",
    [
        manifest_is_missing,
        manifest_has_a_misspelt_column,
        manifest_names_nothing_that_is_there,
        bad_catalogue,
        catalogue_is_a_file,
        empty_catalogue,
        nested_catalogues,
        config_is_missing,
        config_is_no_toml,
        config_has_an_unknown_key,
        config_has_a_value_out_of_range,
        config_contradicts_itself,
        labels_are_missing,
        labels_name_missing_tracks,
        labels_lack_a_column,
    ],
)
def test_bad_input_gives_one_sentence_and_leaves_the_store_as_it_was(
    musichash, nights, file_times, tmp_path, tones, case
):
    arguments, code, sentence = case(tmp_path, tones)

    said = complaint(musichash("run", *arguments, "--store", tmp_path / "new"), code)
    assert re.search(sentence, said)
    assert not (tmp_path / "new").exists()

    before = file_times(nights.store)
    said = complaint(musichash("run", *arguments, "--store", nights.store), code)
    assert re.search(sentence, said)
    assert file_times(nights.store) == before


def test_a_catalogue_without_labels_is_refused_where_the_default_model_does_not_fit(
    musichash, prefect_server, tmp_path, tones, tiny_config_path
):
    spoken = musichash(
        *("run", "--catalogue", tones / "hum", "--store", tmp_path / "new"),
        *("--config", tiny_config_path),
    )
    said = spoken.err.splitlines()[-1]
    assert spoken.code == 2
    assert "the store has no model and the catalogue has 0 label(s)" in said
    assert "--labels" in said
    assert "models.encoder='hpss-cnn' is always trained" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("more", [[], ["--labels", "none"]])
def test_a_dry_run_says_that_the_default_model_will_be_used(musichash, tmp_path, tones, more):
    catalogue = tones if more else tones / "hum"
    arguments = ["run", "--catalogue", catalogue, "--store", tmp_path / "new", *more, "--dry-run"]
    spoken = musichash(*arguments)
    assert spoken.code == 0
    assert "the shipped default model will be used" in spoken.out
    assert json.loads(musichash(*arguments, "--json").out)["installs_default_model"]
    assert "default model" not in musichash(*arguments[:2], tones, *arguments[3:5], "--dry-run").out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["file/store", "/proc/musichash-store"])
def test_an_unwritable_store_is_refused(musichash, prefect_server, tmp_path, tones, place):
    (tmp_path / "file").write_text("in the way")
    store = tmp_path / place
    spoken = musichash("run", "--catalogue", tones, "--store", store)
    assert spoken.code == 1
    assert re.fullmatch(
        f"error: the store {store} cannot be written: .*; check its owner.*",
        spoken.err.splitlines()[-1],
    )
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_with_other_files_is_no_place_for_a_store(
    musichash, prefect_server, tmp_path, tones
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    spoken = musichash("run", "--catalogue", tones, "--store", tmp_path / "mine")
    assert spoken.code == 2
    assert "is not empty (it holds 'thesis.tex'); name an empty or new folder" in spoken.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--catalogue", "CATALOGUE"],
        ["run", "--catalogue", "CATALOGUE", "--dry-run"],
        ["scan", "--catalogue", "CATALOGUE"],
        ["plan"],
        ["extract"],
        ["describe"],
        ["train"],
        ["encode"],
        ["index"],
        ["status"],
        ["failures"],
        ["verify"],
        ["report"],
        ["search", "--track", "x"],
    ],
    ids=lambda command: " ".join(command[::2]),
)
def test_a_store_of_another_format_is_refused_by_every_command(
    musichash, prefect_server, file_times, tmp_path, tones, command
):
    store = tmp_path / "store"
    store.mkdir()
    (store / "musichash-store.json").write_text('{"format": 999}')
    before = file_times(store)
    arguments = [str(tones) if word == "CATALOGUE" else word for word in command]
    said = complaint(musichash(*arguments, "--store", store), 1)
    assert f"the store {store} has format 999, this version reads format 2" in said
    assert file_times(store) == before


def test_a_store_in_use_is_refused_with_the_name_of_its_user(
    musichash, prefect_server, nights, file_times
):
    before = file_times(nights.store)
    with holding(str(nights.store)):
        for command in ("run", "scan"):
            spoken = musichash(command, "--catalogue", nights.catalogue, "--store", nights.store)
            assert spoken.code == 1
            assert re.search(r"another run is writing to .*pid.*wait", spoken.err)
    after = file_times(nights.store)
    assert {path: after[path] for path in before if path != ".lock"} == {
        path: before[path] for path in before if path != ".lock"
    }


def test_a_catalogue_that_lost_most_of_its_tracks_is_refused_until_told_otherwise(
    musichash, prefect_server, nights, sample, tiny_config_path, file_times, tmp_path
):
    few = tmp_path / "few"
    sample.copy(sample.first_night[:1], few)
    before = file_times(nights.store)
    spoken = musichash(
        "run", "--catalogue", few, "--store", nights.store, "--config", tiny_config_path
    )
    assert spoken.code == 2
    said = spoken.err.splitlines()[-1]
    assert re.search(r"finds 1 of the 10 published tracks, fewer than 50%", said)
    assert "--allow-shrink" in said
    after = {path: time for path, time in file_times(nights.store).items() if path in before}
    changed = {path for path in before if after[path] != before[path]}
    # A run that is refused is a run of the ledger, which the figures for monitoring tell.
    assert changed <= {".lock", "runs/metrics/metrics.json", "runs/metrics/metrics.prom"}


def test_features_that_the_model_does_not_read_are_refused_before_any_work(
    musichash, prefect_server, nights, file_times, tmp_path
):
    config = tmp_path / "other.toml"
    config.write_text("[features]\nn_mels = 64\n[models]\nencoder = 'hpss-cnn'\n")
    before = file_times(nights.store)
    for more in ([], ["--dry-run"]):
        spoken = musichash(
            *("run", "--catalogue", nights.catalogue, "--store", nights.store),
            *("--config", config, *more),
        )
        assert spoken.code == 2
        assert re.search(
            r"reads features \w+, the configuration makes \w+; .*--retrain", spoken.err
        )
    assert file_times(nights.store) == before


def test_files_that_are_not_audio_are_rows_and_too_many_publish_nothing(
    musichash, prefect_server, tones, tiny_config_path, tmp_path
):
    store = tmp_path / "store [old]"  # brackets mean something to the library that prints
    (tones / "hum" / "2.wav").rename(tones / "hum" / os.fsdecode(b"caf\xe9.wav"))
    (tones / "hum" / "[live] page.mp3").write_text("<html>not found</html>")
    arguments = ["run", "--catalogue", tones, "--store", store, "--config", tiny_config_path]
    spoken = musichash(*arguments, "--workers", 1)
    assert spoken.code == 3, spoken.err
    assert "done with 1 failure(s): 'musichash failures'" in spoken.out
    (row,) = json.loads(musichash("failures", "--store", store, "--json").out)
    assert row["code"] == "not-audio"
    assert row["path"] == f"{tones}/hum/[live] page.mp3"
    assert row["remedy"]
    assert "/hum/[live] page.mp3: the content" in musichash("failures", "--store", store).out
    assert f"{store}: snapshot 1" in musichash("status", "--store", store).out
    spoken = musichash("search", "--store", store, "--track", "hum/caf\\xe9.wav")
    assert spoken.code == 0, spoken.err
    assert "Nearest to hum/caf\\xe9.wav among 6 tracks" in spoken.out

    for number in range(7):
        (tones / "hum" / f"note{number}.mp3").write_text(f"another page {number}")
    spoken = musichash(*arguments, "--workers", 1)
    assert spoken.code == 1
    said = spoken.err.splitlines()[-1]
    assert "8 of 14 tracks failed, more than 50% (max_failed_share)" in said
    assert f"8 not-audio (such as {tones}/hum/" in said
    assert json.loads(musichash("status", "--store", store, "--json").out)["snapshots"] == [1]
    assert musichash("verify", "--store", store).code == 0


def test_a_wrong_scheduler_address_ends_the_run_with_one_sentence(
    musichash, prefect_server, tones, tmp_path
):
    spoken = musichash(
        *("run", "--catalogue", tones, "--store", tmp_path / "store"),
        *("--scheduler", "nonsense"),
    )
    assert spoken.code == 1
    assert re.search(r"no Dask scheduler answers at 'nonsense' .*leave out --scheduler", spoken.err)


# --- stages one by one ---


def test_the_stages_by_hand_give_the_snapshot_of_a_run(
    musichash, run_night, tones, tiny_config, tiny_config_path, tmp_path
):
    store = tmp_path / "by-hand"
    common = ["--store", store, "--json"]
    settings = [*common, "--config", tiny_config_path]

    def stage(name, *arguments):
        spoken = musichash(name, *arguments)
        assert spoken.code == 0, spoken.err
        return json.loads(spoken.out)

    assert stage("scan", "--catalogue", tones, *common)["tracks"] == 6
    assert stage("plan", *settings)["new"] == 6
    assert stage("extract", "--workers", 1, *settings)["n_done"] == 6
    assert stage("extract", "--workers", 1, *settings)["n_reused"] == 6
    assert stage("train", *settings)["n_done"] == 6
    assert stage("encode", "--workers", 1, *settings)["n_done"] == 6
    assert stage("index", *settings)["n_done"] == 6
    by_hand = stage("status", *common)

    run_night(tones, tmp_path / "by-run", tiny_config)
    by_run = stage("status", "--store", tmp_path / "by-run", "--json")
    assert by_hand["digest"] == by_run["digest"]


@pytest.mark.parametrize("command", ["plan", "extract", "describe", "train", "encode", "index"])
def test_a_stage_without_a_scan_says_what_is_missing(musichash, tmp_path, command):
    from storage.store import create_store

    create_store(tmp_path / "store")
    said = complaint(musichash(command, "--store", tmp_path / "store"), 1)
    assert "has no catalogue yet; run 'musichash scan --catalogue DIR" in said


def test_stages_in_the_wrong_order_name_the_stage_that_is_missing(
    musichash, tones, tiny_config_path, tmp_path
):
    store = tmp_path / "store"
    settings = ["--store", store, "--config", tiny_config_path]
    assert musichash("scan", "--catalogue", tones, "--store", store).code == 0
    assert "run 'musichash train' first" in musichash("encode", *settings).err
    assert "run 'musichash train' first" in musichash("index", *settings).err
    spoken = musichash("train", *settings)
    assert spoken.code == 2
    assert "0 label(s) with at least 2 decoded tracks" in spoken.err


# --- a run with and without writing ---


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_dry_run_writes_nothing(
    musichash, nights, sample, file_times, tiny_config_path, tmp_path, more
):
    settings = ["--config", tiny_config_path, "--dry-run", *more]
    before = file_times(nights.store)
    spoken = musichash("run", "--catalogue", nights.catalogue, "--store", nights.store, *settings)
    assert spoken.code == 0, spoken.err
    assert file_times(nights.store) == before
    if more:
        found = json.loads(spoken.out)
        assert (found["new"], found["reused"], found["kept_failed"]) == (0, 9, 1)
    else:
        assert "nothing new to decode; 9 reused, 1 failed before" in spoken.out
        assert "dry run: nothing was written" in spoken.out

    new = tmp_path / "new"
    assert musichash("run", "--catalogue", sample.music, "--store", new, *settings).code == 0
    assert not new.exists()


def test_a_run_writes_its_account_as_json_and_nothing_else(musichash, nights, tiny_config_path):
    spoken = musichash(
        *("run", "--catalogue", nights.catalogue, "--store", nights.store),
        *("--config", tiny_config_path, "--json"),
    )
    assert spoken.code == 3
    account = json.loads(spoken.out)
    assert account["run"]["reused"] == 9
    assert not account["is_new_snapshot"]
    assert "nothing to decode, 9 tracks reused" in spoken.err


# --- questions ---


def test_search_by_track_leaves_the_track_out(musichash, nights):
    track = "electronic/zaz-mus1.ogg"
    answer = json.loads(
        musichash("search", "--store", nights.store, "--track", track, "-k", "3", "--json").out
    )
    assert [match["rank"] for match in answer["matches"]] == [1, 2, 3]
    distances = [match["distance"] for match in answer["matches"]]
    assert distances == sorted(distances)
    assert f"{nights.catalogue}/{track}" not in [match["path"] for match in answer["matches"]]


def test_search_by_file_finds_the_same_bytes_at_distance_0(
    musichash, nights, tiny_config_path, tmp_path
):
    copy = tmp_path / "unknown name"
    shutil.copy(nights.catalogue / "electronic/zaz-mus1.ogg", copy)
    arguments = ["search", "--store", nights.store, "--file", copy, "--config", tiny_config_path]
    matches = json.loads(musichash(*arguments, "-k", "9", "--json").out)["matches"]
    at_0 = [match["path"] for match in matches if match["distance"] == 0]
    assert f"{nights.catalogue}/electronic/zaz-mus1.ogg" in at_0
    table = musichash(*arguments, "-k", "9")
    assert table.code == 0
    assert "electronic/zaz-mus1.ogg" in table.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name either a --file or a --track"),
        (["--file", "a.ogg", "--track", "b"], "name either a --file or a --track"),
    ],
)
def test_search_needs_one_question(musichash, nights, arguments, sentence):
    spoken = musichash("search", "--store", nights.store, *arguments)
    assert spoken.code == 2
    assert sentence in spoken.err


@pytest.mark.parametrize("k", [0, -1, 10_001])
def test_search_needs_a_sensible_number_of_answers(musichash, nights, k):
    spoken = musichash("search", "--store", nights.store, "--track", "x", "-k", k)
    assert f"k={k}: ask for 1 to 10000 neighbours" in complaint(spoken, 2)


def test_search_for_an_unknown_track_names_the_nearest(musichash, nights):
    spoken = musichash("search", "--store", nights.store, "--track", "electronic/zaz-mus11.ogg")
    said = complaint(spoken, 2)
    assert "no published track has the id or path 'electronic/zaz-mus11.ogg'" in said
    assert "the nearest path is 'electronic/zaz-mus1.ogg'" in said


def test_search_for_a_failed_track_says_that_it_failed(musichash, nights, sample):
    spoken = musichash("search", "--store", nights.store, "--track", sample.damaged)
    assert "has no code because it failed; see 'musichash failures'" in complaint(spoken, 2)


def test_search_by_a_file_that_is_missing_or_no_audio(
    musichash, nights, tiny_config_path, tmp_path
):
    settings = ["--store", nights.store, "--config", tiny_config_path]
    spoken = musichash("search", *settings, "--file", tmp_path / "no.ogg")
    assert "no.ogg does not exist; check --file" in complaint(spoken, 2)
    (tmp_path / "note.ogg").write_text("dear diary")
    said = complaint(musichash("search", *settings, "--file", tmp_path / "note.ogg"), 2)
    assert "note.ogg is not-audio" in said
    assert "often an HTML error page" in said
    spoken = musichash("search", *settings, "--file", tmp_path)
    assert "not-a-regular-file" in complaint(spoken, 2)


def test_search_with_other_features_than_the_model_reads_is_refused(
    musichash, nights, sample, tmp_path
):
    config = tmp_path / "other.toml"
    config.write_text("[features]\nn_mels = 64\n[models]\nencoder = 'hpss-cnn'\n")
    spoken = musichash(
        *("search", "--store", nights.store, "--config", config),
        *("--file", sample.music / "electronic/zaz-mus1.ogg"),
    )
    assert "use the configuration it was trained with" in complaint(spoken, 1)


def test_status_shows_the_snapshot_and_the_runs(musichash, nights):
    spoken = musichash("status", "--store", nights.store)
    assert spoken.code == 0
    assert "9 codes" in spoken.out
    assert "done-with-failures" in spoken.out


def test_failures_names_cause_and_remedy(musichash, nights, sample):
    spoken = musichash("failures", "--store", nights.store)
    assert spoken.code == 0
    assert "truncated: 1 track(s), not tried again" in spoken.out
    assert "remedy: Fetch the file again" in spoken.out
    assert sample.damaged in spoken.out


def test_report_writes_one_page_where_it_is_told(musichash, nights, tmp_path, tiny_config_path):
    page = tmp_path / "page.html"
    settings = ["--config", tiny_config_path, "--output", page, "--json"]
    spoken = musichash("report", "--store", nights.store, *settings)
    assert spoken.code == 0, spoken.err
    assert json.loads(spoken.out) == {"report": str(page)}
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["plan", "status", "failures", "verify", "report", "extract"])
def test_a_missing_store_is_named_and_not_made(musichash, tmp_path, command):
    said = complaint(musichash(command, "--store", tmp_path / "none"), 2)
    assert f"{tmp_path / 'none'} is not a musichash store; create one with 'musichash run" in said
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["failures", "verify", "report"])
def test_a_store_without_snapshot_is_told_from_a_damaged_one(musichash, tmp_path, command):
    from storage.store import create_store

    create_store(tmp_path / "store")
    said = complaint(musichash(command, "--store", tmp_path / "store"), 1)
    assert "has published nothing yet; complete it with 'musichash run" in said


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_status_of_a_store_without_snapshot(musichash, tmp_path, more):
    from storage.store import create_store

    create_store(tmp_path / "store")
    spoken = musichash("status", "--store", tmp_path / "store", *more)
    assert spoken.code == 0
    if more:
        assert json.loads(spoken.out)["snapshot"] is None
    else:
        assert "nothing published yet" in spoken.out


def test_verify_finds_a_flipped_byte_a_missing_and_a_left_over_file(musichash, nights, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(nights.store, store)
    clean = musichash("verify", "--store", store, "--json")
    assert clean.code == 0
    assert json.loads(clean.out)["findings"] == []

    shards = sorted(store.glob("features/*/*/features.zarr/frames/c/0/0/0"))
    data = bytearray(shards[0].read_bytes())
    data[len(data) // 2] ^= 1
    shards[0].write_bytes(data)
    (index,) = json.loads(musichash("status", "--store", store, "--json").out)["tables"]["codes"]
    (store / index).unlink()
    (shards[1].parents[4] / "extra.txt").write_text("x")
    spoken = musichash("verify", "--store", store, "--json")
    assert spoken.code == 1
    findings = {row["path"]: row["problem"] for row in json.loads(spoken.out)["findings"]}
    assert sorted(findings.values()) == ["changed", "extra", "missing"]
    assert findings[shards[0].relative_to(store).as_posix()] == "changed"
    spoken = musichash("verify", "--store", store)
    assert spoken.code == 1
    assert "3 problem(s)" in spoken.out
    assert f"'musichash reconcile --store {store} --dry-run' says" in spoken.out


def test_features_deleted_by_hand_are_made_again_and_the_store_verifies(
    musichash, nights, tiny_config_path, tmp_path
):
    """Damaged partitions are mended this way; other partition bounds must not matter."""
    store = tmp_path / "store"
    shutil.copytree(nights.store, store)
    digest = json.loads(musichash("status", "--store", store, "--json").out)["digest"]
    for folder in sorted(store.glob("features/*/*"))[:2]:
        shutil.rmtree(folder)
    spoken = musichash(
        *("run", "--catalogue", nights.catalogue, "--store", store, "--workers", 1),
        *("--config", tiny_config_path),
    )
    assert spoken.code == 3, spoken.err
    assert json.loads(musichash("status", "--store", store, "--json").out)["digest"] == digest
    verified = musichash("verify", "--store", store, "--json")
    assert json.loads(verified.out)["findings"] == []


# --- names that act on terminals and spreadsheets ---


def printed_on_a_terminal(*arguments):
    """What a command writes when its standard output is a terminal."""
    ours, its = pty.openpty()
    command = [Path(sys.executable).with_name("musichash"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=its, stdin=subprocess.DEVNULL) as process:
        os.close(its)
        pieces = []
        with suppress(OSError):  # Linux says "input/output error" at the end
            while piece := os.read(ours, 65_536):
                pieces.append(piece)
        os.close(ours)
    assert process.returncode == 0
    return b"".join(pieces).decode().replace("\r\n", "\n")


EVIL = "=1+1\x1b[2J\u202egnp\n.wav"


def test_names_act_neither_on_the_terminal_nor_in_a_spreadsheet(
    musichash, prefect_server, tones, tiny_config_path, tmp_path
):
    store, manifest = tmp_path / "store", tmp_path / "tonight.csv"
    (tones / "hum" / "0.wav").rename(tones / EVIL)
    (tones / "hum" / "\x1b]0;x\x07.mp3").write_text("no audio")
    names = [EVIL, "hum/1.wav", "hum/2.wav", "hiss/0.wav", "hiss/1.wav", "hiss/2.wav"]
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "label", "bpm"])
        writer.writerows(
            [name, f"=id{n}", "hum" if n < 3 else "hiss", 1] for n, name in enumerate(names)
        )
        writer.writerow(["hum/\x1b]0;x\x07.mp3", "", "", ""])
        writer.writerow(["../../\x1b[31m\u202eetc/passwd", "", "", ""])
    spoken = musichash(
        *("run", "--catalogue", tones, "--store", store, "--config", tiny_config_path),
        *("--manifest", manifest, "--workers", 1),
    )
    assert spoken.code == 3, spoken.err
    assert "1 column(s) of the manifest passed by: 'bpm'" in spoken.out

    def shown(*arguments):
        spoken = musichash(*arguments, "--store", store)
        assert spoken.code == 0, spoken.err
        assert spoken.out.replace("\n", "").isprintable()
        return spoken.out

    said = shown("failures")
    assert "hum/\\x1b]0;x\\x07.mp3: the content" in said
    assert "line 10 of tonight.csv: the path '../../\\x1b[31m\\u202eetc/passwd'" in said
    codes = {row["path"]: row["code"] for row in json.loads(shown("failures", "--json"))}
    assert codes == {
        f"{tones}/hum/\x1b]0;x\x07.mp3": "not-audio",
        f"{tones}/../../\x1b[31m\u202eetc/passwd": "outside-root",
    }
    assert "=1+1\\x1b[2J\\u202egnp\\n.wav" in shown("search", "--track", "hum/1.wav")
    matches = json.loads(shown("search", "--track", "hum/1.wav", "--json"))["matches"]
    assert f"{tones}/{EVIL}" in {match["path"] for match in matches}

    table = printed_on_a_terminal("export", "tracks", "--store", store)
    assert table.replace("\n", "").isprintable()
    assert '"\'=1+1\\x1b[2J\\u202egnp\\n.wav"' in table

    target = tmp_path / "tracks.csv"
    shown("export", "tracks", "--output", target)
    with target.open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file, strict=True)}
    assert rows["'" + EVIL]["external_id"] == "'=id0"
    lines = shown("export", "tracks", "--format", "jsonl").splitlines()
    assert {json.loads(line)["path"]: json.loads(line)["external_id"] for line in lines} == {
        **{name: f"=id{n}" for n, name in enumerate(names)},
        "hum/\x1b]0;x\x07.mp3": None,
    }


# --- export ---


def test_an_export_goes_to_standard_output_or_a_file(musichash, nights, tmp_path):
    spoken = musichash("export", "failures", "--store", nights.store)
    assert spoken.code == 0
    header, row = csv.reader(spoken.out.splitlines())
    assert header[:2] == ["track_id", "path"]
    assert row[1].endswith("-truncated.ogg")
    target = tmp_path / "codes.parquet"
    spoken = musichash(
        *("export", "codes", "--store", nights.store),
        *("--format", "parquet", "--output", target),
    )
    assert spoken.out == f"9 rows of codes are in {target}\n"
    assert target.read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["codez"], 2, "there is no table 'codez'; did you mean 'codes'?"),
        (["codes", "--format", "parquet"], 2, "Parquet needs a file: name one with --output"),
        (["codes", "--format", "xlsx"], 2, "is not one of 'csv', 'jsonl', 'parquet'"),
        (["codes", "--output", "/no/where.csv"], 1, "/no/where.csv cannot be written"),
    ],
)
def test_an_export_that_cannot_be_made_is_refused(musichash, nights, arguments, code, sentence):
    spoken = musichash("export", *arguments, "--store", nights.store)
    assert spoken.code == code
    assert sentence in " ".join(spoken.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("> /dev/full", 1, "error: standard output cannot be written: No space left on device\n"),
        ("--output /dev/full", 1, "error: /dev/full cannot be written: No space left on device"),
        ("| head -c 5", 0, ""),
    ],
)
def test_an_export_into_a_full_device_or_a_closed_pipe_ends_in_a_sentence(
    nights, where, code, said
):
    command = Path(sys.executable).with_name("musichash")
    done = subprocess.run(
        f"{command} export tracks --store '{nights.store}' {where}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(said)


def test_what_follows_from_an_interruption_is_told_from_other_errors():
    def fail(first):
        try:
            raise first
        finally:
            raise ValueError("Task run is not set")

    for first, expected in ((KeyboardInterrupt(), True), (RuntimeError(), False)):
        with pytest.raises(ValueError, match="Task run") as caught:
            fail(first)
        assert cli.was_interrupted(caught.value) is expected
    assert cli.was_interrupted(KeyboardInterrupt())
