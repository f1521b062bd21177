"""What answers say: of the match, why it was found, and where an excerpt was found."""

import json

import numpy as np
import pytest
import soundfile

from musichash_core.errors import ParameterError
from storage.served_segments import NoWindowsError
from tasks.search import Filters, Reach, UnknownTrackError, open_catalogue, search_file

N_BITS = 32


@pytest.fixture
def four(store, made_up):
    """Four tracks; the codes of the others differ from the first in 3, 5 and 8 bits."""
    logits = np.ones((4, N_BITS), np.float32)
    logits[1, [0, 9, 31]] = -1
    logits[2, :5] = -1
    logits[3, 8:16] = -1
    logits[0, 9] = 0.25  # the first is not sure of it
    made_up.publish_made_up(
        store,
        logits,
        genre=["jazz", "jazz", "rock", "jazz"],
        label=["bop", "Bop ", None, "swing"],
        duration_s=[100.0, 130.5, 99.0, 100.0],
        tag_artist=["Ann  Lee", "ann lee", None, "Bob"],
        tag_album=["Blue", None, "Blue", "blue"],
        tag_year=[1959, 1960, 1958, 1961],
        path=["a/1.ogg", "a/2.ogg", "b/1.ogg", "b/2.ogg"],
    )
    return store


def test_an_explained_answer_says_what_differs_and_what_is_shared(four):
    with open_catalogue(four) as catalogue:
        answer = catalogue.search_track("a/1.ogg", is_explained=True)
    first, second, third = answer.matches
    assert [match.distance for match in answer.matches] == [3, 5, 8]
    assert first.why["bits_differing"] == [0, 9, 31]
    assert [match.why["bits_only_in_query"] for match in answer.matches] == [3, 5, 8]
    assert [match.why["bits_only_in_match"] for match in answer.matches] == [0, 0, 0]
    assert [match.why["bits_unsure"] for match in answer.matches] == [1, 0, 1]
    assert first.why["shared"] == {
        "genre": "jazz",
        "label": "Bop ",
        "artist": "ann lee",
        "year": 1960,
    }
    assert second.why["shared"] == {"album": "Blue", "year": 1958}
    assert third.why["shared"] == {"genre": "jazz", "album": "blue"}
    assert [match.why["duration_difference_s"] for match in answer.matches] == [30.5, -1.0, 0.0]
    assert first.why["probabilities"] == pytest.approx({"jazz": 0.7, "other": 0.3}, abs=1e-4)
    assert first.why["genre_overlap"] == pytest.approx(1, abs=1e-4)
    assert second.why["genre_overlap"] == pytest.approx(0.3, abs=1e-4)
    assert answer.about["path"] == "/music/a/1.ogg"
    assert answer.about["genre"] == "jazz"
    assert answer.about["code"] == "ffffffff"


def test_the_asymmetric_distance_is_the_one_of_its_definition(four):
    with open_catalogue(four) as catalogue:
        answer = catalogue.search_track("a/1.ogg")
    logits = np.ones(N_BITS)
    logits[9] = 0.25
    signs = np.ones(N_BITS)
    signs[[0, 9, 31]] = -1
    assert answer.matches[0].asymmetric == pytest.approx(-np.tanh(logits) @ signs, abs=1e-3)
    assert answer.matches[0].why is answer.about is None


def test_an_explained_code_says_what_is_known(four):
    with open_catalogue(four) as catalogue:
        answer = catalogue.search_code("FEFFFFFF", Reach(1), is_explained=True)
    (match,) = answer.matches
    assert match.why["bits_differing"] == [0]
    assert match.why["bits_unsure"] is None
    assert "shared" not in match.why
    assert answer.about == {"code": "feffffff"}


def test_answers_are_plain_json(four):
    with open_catalogue(four) as catalogue:
        answer = catalogue.search_track(
            "a/1.ogg", Reach(2, 5), Filters(years=(1958, 1960)), is_explained=True
        ).as_dict()
    assert json.loads(json.dumps(answer)) == answer | {"matches": list(answer["matches"])}
    assert answer["filters"] == {"years": [1958, 1960]}
    assert (answer["k"], answer["radius"], answer["n_selected"]) == (2, 5, 3)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("ffff", "has 16 bits, those of snapshot 1 have 32: give 8 hex digits"),
        ("ff" * 8, "has 64 bits, those of snapshot 1 have 32"),
        ("", "has 0 bits"),
        ("zz", "is not hexadecimal: give two digits a byte"),
        ("fff", "is not hexadecimal"),
    ],
)
def test_a_code_of_another_width_or_none_is_refused(four, code, sentence):
    with open_catalogue(four) as catalogue, pytest.raises(ParameterError, match=sentence):
        catalogue.search_code(code)


def test_arrays_of_another_width_are_refused(four):
    with open_catalogue(four) as catalogue:
        with pytest.raises(ParameterError, match=r"has 64 bits, the codes .* have 32"):
            catalogue.nearest_to_codes(np.zeros((1, 8), np.uint8))
        with pytest.raises(ParameterError, match="the query has 16 bits"):
            catalogue.nearest_to_logits(np.ones((2, 16), np.float32))
        with pytest.raises(UnknownTrackError, match="has no code of a track 'ffff"):
            catalogue.nearest_to_tracks(["f" * 32])


def test_without_windows_segments_cannot_be_asked_for(four):
    with (
        open_catalogue(four) as catalogue,
        pytest.raises(NoWindowsError, match=r"no track .* has codes of windows.*--by track"),
    ):
        catalogue.search_track("a/1.ogg", by="segments")


# --- excerpts ------------------------------------------------------------------------------------


@pytest.fixture
def sweeps(publish_all, catalogue, sounds):
    """Three tracks of a minute whose sound changes every few seconds, and the models' settings."""
    paths = []
    for number in range(3):
        rng = np.random.default_rng(number)
        chords = rng.integers(100, 5000, (12, 12)).astype(float)
        y = np.concatenate(
            [
                sum(sounds.tone(hz, duration_s=5.0, sr=22_050, level=0.04) for hz in chord)
                + sounds.noise(at, duration_s=5.0, sr=22_050, level=0.002)
                for at, chord in enumerate(chords)
            ]
        ).astype(np.float32)
        paths.append(sounds.write(f"{catalogue.root.name}/low/{number}.wav", y, 22_050))
    return publish_all(catalogue.root), paths


def test_an_excerpt_finds_its_track_and_the_second(sweeps, config, tmp_path):
    published, paths = sweeps
    y, sr = soundfile.read(paths[1], dtype="float32")
    excerpt = tmp_path / "excerpt.flac"
    soundfile.write(excerpt, 0.5 * y[30 * sr : 40 * sr], sr)
    for by in ("segments", "auto"):
        answer = search_file(published.store, str(excerpt), config, by=by, k=3)
        assert answer.matches[0].path == str(paths[1])
        assert answer.matches[0].starts_s == pytest.approx(30, abs=3)
        assert len(answer.matches) == 3
    soundfile.write(excerpt, 0.5 * y[25 * sr : 40 * sr], sr)
    longer = search_file(published.store, str(excerpt), config, by="segments", k=1)
    assert longer.matches[0].path == str(paths[1])
    assert longer.matches[0].starts_s == pytest.approx(
        25, abs=2.6
    )  # half of what lies between windows
    assert 0 < longer.matches[0].window_distance < 5
    with open_catalogue(published.store, config) as catalogue:
        none = catalogue.search_file(str(excerpt), Reach(3, 0), by="auto")
        near = catalogue.search_file(str(excerpt), Reach(3, 5), by="auto")
    assert all(match.window_distance is None for match in none.matches)
    assert near.matches[0].window_distance == longer.matches[0].window_distance
    assert longer.is_exact, "of so few tracks all are compared"
    whole = search_file(published.store, str(excerpt), config, by="track", k=3)
    assert whole.by == "track"
    assert all(match.starts_s is match.window_distance is None for match in whole.matches)


def test_silence_has_no_windows_to_search_by(sweeps, config, tmp_path):
    published, _ = sweeps
    silence = tmp_path / "silence.flac"
    soundfile.write(silence, np.zeros(12 * 22_050), 22_050)
    with pytest.raises(NoWindowsError, match=r"nothing is heard in any window.*--by track"):
        search_file(published.store, str(silence), config, by="segments")
    assert search_file(published.store, str(silence), config, by="auto", k=2).by == "track"


def test_a_whole_track_is_compared_as_a_whole_unless_asked_otherwise(sweeps, config):
    published, paths = sweeps
    assert search_file(published.store, str(paths[0]), config).by == "track"
    answer = search_file(published.store, str(paths[0]), config, by="segments")
    assert answer.matches[0].path == str(paths[0])
    assert answer.matches[0].window_distance == 0
    with open_catalogue(published.store) as catalogue:
        others = catalogue.search_track("low/0.wav", Reach(5), by="segments").matches
        assert [match.path for match in others] != []
        assert str(paths[0]) not in [match.path for match in others]
        none_left = catalogue.search_track("low/0.wav", Reach(5, 0), by="segments")
        assert none_left.matches == ()
        filtered = catalogue.search_track(
            "low/0.wav", Reach(5), Filters(duration_s=(500, 600)), by="segments"
        )
        assert filtered.matches == ()
