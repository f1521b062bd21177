"""Ballroom and Extended Ballroom: dances by folder and by XML, and the tracks that they repeat."""

import pytest

from storage.datasets import DatasetError
from storage.datasets.ballroom import REPLICAS, load_ballroom
from storage.datasets.extended_ballroom import load_extended_ballroom

# --- Ballroom ---


@pytest.fixture
def ballroom(tree):
    for path in (
        "ChaChaCha/Albums-Latin_Jam-04.wav",
        "ChaChaCha/Albums-Latin_Jam-13.wav",
        "Rumba-American/Media-105901.wav",
        "Rumba-Misc/Media-105917.wav",
        "Rumba-International/Albums-Step_By_Step-2-03.wav",
        "Waltz/Media-104705.wav",
        "Waltz/._Media-104705.wav",
        "nada/notes.txt",
    ):
        tree.sound(f"BallroomData/{path}") if path.endswith(".wav") else tree.raw(path)
    return tree


def test_folders_are_dances_and_albums_are_groups(ballroom):
    dataset = load_ballroom(ballroom.root)
    assert [(track.path, track.genre, track.group) for track in dataset.tracks] == [
        ("BallroomData/ChaChaCha/Albums-Latin_Jam-04.wav", "ChaChaCha", "Latin_Jam"),
        ("BallroomData/Rumba-American/Media-105901.wav", "Rumba", "Media-1059"),
        (
            "BallroomData/Rumba-International/Albums-Step_By_Step-2-03.wav",
            "Rumba",
            "Step_By_Step-2",
        ),
        ("BallroomData/Rumba-Misc/Media-105917.wav", "Rumba", "Media-1059"),
        ("BallroomData/Waltz/Media-104705.wav", "Waltz", "Media-1047"),
    ]


def test_a_replica_is_left_out_where_its_original_is_there(ballroom, noted):
    notes = noted(load_ballroom(ballroom.root))
    # Media-104705 repeats Albums-Secret_Garden-01, which this copy lacks: it stays.
    assert notes["duplicate"] == (1, ["Albums-Latin_Jam-13 = Albums-Latin_Jam-04"])
    assert notes["no-split"][0] == 5


def test_thirteen_replicas_are_known_and_none_is_an_original():
    assert len(REPLICAS) == 4 + 9
    assert not set(REPLICAS) & set(REPLICAS.values())


def test_files_that_only_the_list_names_are_missing(ballroom, noted):
    ballroom.text(
        "BallroomData/allBallroomFiles",
        "./ChaChaCha/Albums-Latin_Jam-04.wav\r\n./Samba/Albums-Fire-01.wav\r\n./nada/x.wav\r\n./y\r\n",
    )
    assert noted(load_ballroom(ballroom.root))["missing"] == (
        1,
        ["BallroomData/Samba/Albums-Fire-01.wav"],
    )


def test_a_list_that_leaves_the_folder_is_refused(ballroom):
    ballroom.text("BallroomData/allBallroomFiles", "./Samba/a.wav\n./../../Samba/b.wav\n")
    with pytest.raises(DatasetError, match=r"line 2 of allBallroomFiles: .* is no plain path"):
        load_ballroom(ballroom.root)


def test_a_track_in_two_dances_is_refused(ballroom):
    ballroom.sound("BallroomData/Tango/Media-105901.wav")
    with pytest.raises(DatasetError, match="folder Tango: 'Media-105901' was met before, in"):
        load_ballroom(ballroom.root)


# --- Extended Ballroom ---

XML = """<ballroom>
  <Waltz>
    <song album="Swing" artist="Nat King Cole" bpm="87" id="100601" title="Fascination" hash="0"/>
    <song album="Best" artist="Cole" bpm="87" id="100602" title="&quot;Ilia's&quot;" hash="0">
      <exact id="100601"/><version id="100604"/>
    </song>
    <song album="Best" artist="Manuel &amp; the Müsic" bpm="84" id="100603" title="T" hash="0">
      <time id="200001"/></song>
  </Waltz>
  <Wcswing>
    <song album="West Coast" artist="Various" bpm="92" id="200002" title="Black Velvet" hash="0"/>
    <song album="Other" artist="Manuel" bpm="92" id="200001" title="T" hash="0"/>
    <song album="Other" artist="Manuel" bpm="92" id="200003" title="U" hash="0"/>
    <song album="Best" artist="Cover Band" bpm="87" id="100604" title="Ilia's" hash="0">
      <version id="100602"/></song>
  </Wcswing>
</ballroom>
"""
ALL = [
    "Waltz/Waltz.100601",
    "Waltz/Waltz.100602",
    "Waltz/100603",
    "Wcswing/200002",
    "Wcswing/200001",
    "Wcswing/200003",
    "Wcswing/100604",
]


@pytest.fixture
def extended(tree):
    def write(xml=XML, stems=ALL):
        tree.text("extendedballroom_v1.1.xml", xml)
        for stem in stems:
            tree.raw(f"{stem}.mp3")
        return tree.root

    return write


def test_songs_become_tracks_with_their_dance_and_artist(extended, by_id, noted):
    dataset = load_extended_ballroom(extended())
    tracks = by_id(dataset)
    assert {name: (track.path, track.genre) for name, track in tracks.items()} == {
        "100601": ("Waltz/Waltz.100601.mp3", "Waltz"),
        "100603": ("Waltz/100603.mp3", "Waltz"),
        "200002": ("Wcswing/200002.mp3", "Wcswing"),
        "200001": ("Wcswing/200001.mp3", "Wcswing"),
        "200003": ("Wcswing/200003.mp3", "Wcswing"),
        "100604": ("Wcswing/100604.mp3", "Wcswing"),
    }
    assert noted(dataset)["duplicate"] == (1, ["100602 = 100601"])


def test_one_recording_under_two_artists_is_one_group(extended, by_id):
    groups = {
        name: track.group for name, track in by_id(load_extended_ballroom(extended())).items()
    }
    # 100603 and 200001 are one recording: all of both artists' tracks stay together.
    assert groups["100603"] == groups["200001"] == groups["200003"]
    assert groups["100604"] == "Cover Band"  # a version by others binds nothing
    assert groups["200002"] == "album West Coast"
    assert len(set(groups.values())) == 4


def test_the_copy_stays_where_the_first_is_missing(extended, by_id, noted):
    dataset = load_extended_ballroom(extended(stems=ALL[1:]))
    assert "100602" in by_id(dataset)
    notes = noted(dataset)
    assert notes["missing"] == (1, ["Waltz/Waltz.100601.mp3"])
    assert "duplicate" not in notes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id="100603"', 'id="100601"', r"line 7 of .*: '100601' was met before, in line 3 of"),
        ('id="100603"', "", r"line 7 of .*: wanted is a 'song' with an id"),
        ('id="100603"', 'id="../100603"', r"line 7 of .*: '\.\./100603\.mp3' is no plain path"),
        ("</Waltz>", "", r"line 10 of .*: wanted is a 'song' with an id, not 'Wcswing'"),
        ("</ballroom>", "", "cannot be read as XML: no element found: line 18"),
        ("Müsic", "M\x01sic", "cannot be read as XML: not well-formed .*: line 7"),
        ("<ballroom>", "<!DOCTYPE b [<!ENTITY x 'y'>]><ballroom>", "line 1 of .*: a DOCTYPE"),
    ],
)
def test_damaged_xml_is_refused_by_its_line(extended, old, new, message):
    with pytest.raises(DatasetError, match=message):
        load_extended_ballroom(extended(XML.replace(old, new, 1)))
