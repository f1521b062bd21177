"""MTG-Jamendo and MagnaTagATune: tags, splits by file and by folder, quirks of their tables."""

import pytest

from musichash_core.errors import ParameterError
from storage.datasets import DatasetError
from storage.datasets.magnatagatune import load_magnatagatune
from storage.datasets.mtg_jamendo import load_mtg_jamendo

# --- MTG-Jamendo ---

HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
TRACKS = {
    "214": "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\n",
    "382": "track_0000382\tartist_000020\talbum_000046\t82/382.mp3\t211.1\t"
    "genre---classical\tinstrument---voice\n",
    "808": "track_0000808\tartist_000114\talbum_000131\t08/808.mp3\t265.6\t"
    "genre---pop\tgenre---rock\n",
    "859": "track_0000859\tartist_000014\talbum_000131\t59/859.mp3\t26.0\tmood/theme---dark\n",
}


@pytest.fixture
def jamendo(tree):
    tree.text("data/autotagging.tsv", HEADER + "".join(TRACKS.values()))
    for number in ("214", "382", "808", "859"):
        tree.raw(f"audio/{number[-2:]}/{number}.mp3")
    return tree


def write_splits(tree, number, parts, stem="autotagging"):
    for split, names in parts.items():
        tree.text(
            f"data/splits/split-{number}/{stem}-{split}.tsv",
            HEADER + "".join(TRACKS[name] for name in names),
        )


def test_the_base_file_gives_tracks_without_a_split(jamendo, by_id):
    tracks = by_id(load_mtg_jamendo(jamendo.root))
    first = tracks["track_0000214"]
    assert (first.path, first.genre, first.group, first.split, first.duration_s) == (
        "audio/14/214.mp3",
        "punkrock",
        "artist_000014",
        None,
        124.6,
    )
    assert tracks["track_0000382"].tags == ("genre---classical", "instrument---voice")
    assert {name: track.genre for name, track in tracks.items()} == {
        "track_0000214": "punkrock",
        "track_0000382": "classical",
        "track_0000808": None,  # it has two
        "track_0000859": None,  # it has none
    }


def test_a_published_split_is_read_whole_by_its_number(jamendo, by_id, noted):
    write_splits(jamendo, 0, {"train": ["214", "808"], "validation": ["382"], "test": ["859"]})
    write_splits(jamendo, 1, {"train": ["382"], "validation": ["214"], "test": []})
    splits = {name: track.split for name, track in by_id(load_mtg_jamendo(jamendo.root)).items()}
    assert splits == {
        "track_0000214": "train",
        "track_0000808": "train",
        "track_0000382": "validation",
        "track_0000859": "test",
    }
    # One artist has tracks in two parts here; the published splits have none such.
    assert noted(load_mtg_jamendo(jamendo.root))["straddling"] == (2, ["artist_000014"])
    second = by_id(load_mtg_jamendo(jamendo.root, split_number=1))
    assert {name: track.split for name, track in second.items()} == {
        "track_0000382": "train",
        "track_0000214": "validation",
    }
    with pytest.raises(DatasetError, match=r"split-2/autotagging-train\.tsv cannot be read"):
        load_mtg_jamendo(jamendo.root, split_number=2)
    with pytest.raises(ParameterError, match="split_number=5; MTG-Jamendo has the splits 0 to 4"):
        load_mtg_jamendo(jamendo.root, split_number=5)


def test_a_part_has_files_of_its_own(jamendo, by_id):
    write_splits(
        jamendo, 0, {"train": ["214"], "validation": ["382"], "test": ["808"]}, "autotagging_genre"
    )
    dataset = load_mtg_jamendo(jamendo.root, "genre")
    assert list(by_id(dataset)) == ["track_0000808", "track_0000214", "track_0000382"]
    assert dataset.about.name == "mtg-jamendo-genre"


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [
        ("", ".mp3"),
        ("", ".low.mp3"),
        ("raw_30s/audio-low/", ".low.mp3"),
        ("raw_30s/audio/", ".mp3"),
    ],
)
def test_the_audio_is_found_where_the_download_puts_it(tree, noted, folder, suffix):
    tree.text("data/autotagging.tsv", HEADER + TRACKS["214"] + TRACKS["382"])
    tree.raw(f"{folder}82/382{suffix}")
    dataset = load_mtg_jamendo(tree.root)
    assert [track.path for track in dataset.tracks] == [f"{folder}82/382{suffix}"]
    assert noted(dataset)["missing"] == (1, [f"{folder}14/214{suffix}"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER.replace("TAGS", "TAG"), r"line 1 of autotagging\.tsv: the header is"),
        ("", r"line 1 of autotagging\.tsv: the header is \[\]"),
        (HEADER + TRACKS["214"] + "track_1\ta\tb\tc.mp3\t1\n", r"line 3 .*: 5 fields; wanted are"),
        (
            HEADER + TRACKS["214"] + TRACKS["214"],
            "line 3 .*: 'track_0000214' was met before, in line 2",
        ),
        (HEADER + TRACKS["214"].replace("124.6", "2:04"), "line 2 .*: the duration '2:04' is no"),
        (
            HEADER + TRACKS["214"].replace("---", "-"),
            "line 2 .*: the tags .* are not all of the form",
        ),
        (
            HEADER + TRACKS["214"].replace("14/214", "../214"),
            "line 2 .*: '../214.mp3' is no plain path",
        ),
        (HEADER, "its metadata name no track"),
    ],
)
def test_a_damaged_table_is_refused_by_its_line(tree, content, message):
    tree.text("data/autotagging.tsv", content)
    with pytest.raises(DatasetError, match=message):
        load_mtg_jamendo(tree.root)


# --- MagnaTagATune ---

TAGS = ["no voice", "female vocal", "woman", "guitar", "guitars", "weird"]
CLIPS = {
    "2": ("0/american_bach_soloists-j_s__bach-01-bwv54-30-59.mp3", "101000"),
    "6": ("b/seismic_anamoly-sea_of_rain-05-hurricane-0-29.mp3", "000110"),
    "10": ("c/lvx_nova-lvx_nova-01-contimune-30-59.mp3", "011001"),
    "11": ("f/strojovna_07-mobile-02-svuj_svet-88-117.mp3", "000000"),
}


def annotations(clips=CLIPS, line_end="\n"):
    quoted = [["clip_id", *TAGS, "mp3_path"]]
    quoted += [[clip_id, *marks, path] for clip_id, (path, marks) in clips.items()]
    return "".join("\t".join(f'"{text}"' for text in row) + line_end for row in quoted)


@pytest.fixture
def magnatagatune(tree):
    tree.text("annotations_final.csv", annotations())
    tree.text(
        "clip_info_final.csv",
        "clip_id\ttrack_number\ttitle\tartist\talbum\turl\n"
        '2\t1\t"BWV54 - I ""Aria"""\t"American Bach Soloists"\t"J.S. Bach"\tx\n'
        '6\t5\t"The \\"Hurricane\\""\t"Séismic, Anamoly"\t"Sea"\tx\n'
        "10\t1\tContimune\tAmerican Bach Soloists\tLVX\tx\n",
    )
    for path, _ in CLIPS.values():
        tree.raw(f"mp3/{path}")
    return tree


def test_columns_of_ones_are_tags_and_folders_are_splits(magnatagatune, by_id, noted):
    dataset = load_magnatagatune(magnatagatune.root)
    tracks = by_id(dataset)
    assert {name: (track.split, track.tags) for name, track in tracks.items()} == {
        "2": ("train", ("no voice", "woman")),
        "6": ("train", ("guitar", "guitars")),
        "10": ("validation", ("female vocal", "woman", "weird")),
        "11": ("test", ()),
    }
    assert {name: track.group for name, track in tracks.items()} == {
        "2": "American Bach Soloists",
        "6": "Séismic, Anamoly",
        "10": "American Bach Soloists",
        "11": None,
    }
    assert tracks["2"].path == f"mp3/{CLIPS['2'][0]}"
    assert noted(dataset) == {
        "unlabelled": (1, [f"mp3/{CLIPS['11'][0]}"]),
        "no-group": (1, [f"mp3/{CLIPS['11'][0]}"]),
        "straddling": (2, ["American Bach Soloists"]),
    }


def test_the_most_frequent_tags_are_kept_and_equals_go_by_name(magnatagatune, by_id):
    # woman stands twice, the others once: of those "female vocal" comes first by name.
    tracks = by_id(load_magnatagatune(magnatagatune.root, n_tags=2))
    assert [track.tags for track in tracks.values()] == [
        ("woman",),
        (),
        ("female vocal", "woman"),
        (),
    ]
    with pytest.raises(ParameterError, match="n_tags=0; at least 1"):
        load_magnatagatune(magnatagatune.root, n_tags=0)


def test_synonyms_are_merged_before_they_are_counted(magnatagatune, by_id):
    tracks = by_id(load_magnatagatune(magnatagatune.root, merge_synonyms=True))
    assert [track.tags for track in tracks.values()] == [
        ("no vocal", "female vocal"),
        ("guitar",),
        ("female vocal", "strange"),
        (),
    ]


def test_windows_line_ends_and_audio_beside_the_tables(tree, by_id):
    tree.text("annotations_final.csv", "\ufeff" + annotations(line_end="\r\n"))
    tree.raw(CLIPS["6"][0])
    dataset = load_magnatagatune(tree.root)
    assert [(track.path, track.tags) for track in dataset.tracks] == [
        (CLIPS["6"][0], ("guitar", "guitars"))
    ]


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (
            {"2": ("0/a.mp3", "000000"), "3": ("g/a.mp3", "000000")},
            "line 3 .*: the path 'g/a.mp3' does",
        ),
        ({"2": ("0/../../a.mp3", "000000")}, "line 2 .* is no plain path"),
        ({"2": ("0/a.mp3", "000020")}, "line 2 .*: the tag 'guitars' is '2'; wanted is 0 or 1"),
        ({"2": ("0/a.mp3", "00000")}, "line 2 .*: 7 fields where the header has 8"),
        ({"": ("0/a.mp3", "000000")}, "line 2 .*: the track's identifier is empty"),
    ],
)
def test_damaged_annotations_are_refused_by_their_line(tree, clips, message):
    tree.text("annotations_final.csv", annotations(clips))
    with pytest.raises(DatasetError, match=message):
        load_magnatagatune(tree.root)
