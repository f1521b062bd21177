"""Scanning: identities from bytes, unchanged files left unread, odd files as failure rows."""

import hashlib
import os
import unicodedata

import pytest

from musichash_core.records import TrackFailure
from storage.catalogue import (
    Catalogue,
    CatalogueRow,
    check_roots,
    read_catalogue,
    scan_catalogue,
    write_catalogue,
)
from storage.errors import ArtefactMissingError, CatalogueError


@pytest.fixture
def music(tmp_path):
    root = tmp_path / "music"
    for name, content in {
        "rock/b.ogg": b"second",
        "rock/a.ogg": b"first",
        "rock-pop/c.MP3": b"third",
        "d.wav": b"fourth",
        "rock/cover.jpg": b"picture",
        "README": b"text",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def identity(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def failure_codes(result):
    return {failure.path.rpartition("/")[2]: failure.code for failure in result.failures}


def test_files_get_the_hash_of_their_bytes_sorted_by_path(music):
    result = scan_catalogue(check_roots([music]))
    assert [(file.path, file.track_id) for file in result.files] == [
        ("d.wav", identity(b"fourth")),
        ("rock-pop/c.MP3", identity(b"third")),
        ("rock/a.ogg", identity(b"first")),
        ("rock/b.ogg", identity(b"second")),
    ]
    file = result.files[0]
    status = (music / "d.wav").stat()
    assert (file.root, file.path_raw) == (str(music), b"d.wav")
    assert (file.n_bytes, file.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (result.failures, result.n_hashed, result.n_ignored) == ((), 4, 2)


def test_unchanged_files_are_not_read_again(music, monkeypatch):
    roots = check_roots([music])
    first = scan_catalogue(roots)
    monkeypatch.setattr("storage.file_identities.open_beneath", None)  # reading would fail
    second = scan_catalogue(roots, first.files)
    assert second.files == first.files
    assert second.n_hashed == 0


def test_changed_times_sizes_and_names_are_read_again(music):
    roots = check_roots([music])
    first = scan_catalogue(roots)
    os.utime(music / "d.wav", ns=(0, 1_000_000_001))
    (music / "rock/a.ogg").write_bytes(b"first, longer")
    (music / "rock/b.ogg").rename(music / "rock/e.ogg")
    (music / "new.flac").write_bytes(b"fifth")
    second = scan_catalogue(roots, first.files)
    assert second.n_hashed == 4
    ids = {file.path: file.track_id for file in second.files}
    assert ids == {
        "d.wav": identity(b"fourth"),
        "new.flac": identity(b"fifth"),
        "rock-pop/c.MP3": identity(b"third"),
        "rock/a.ogg": identity(b"first, longer"),
        "rock/e.ogg": identity(b"second"),
    }


def test_the_same_bytes_are_one_track_with_several_places(music, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "copy.ogg").write_bytes(b"first")
    (music / "rock" / "0.flac").write_bytes(b"first")
    result = scan_catalogue(check_roots([other, music]))
    rows = tuple(map(CatalogueRow, result.files))
    places = Catalogue(rows, ()).by_track()[identity(b"first")]
    assert [f"{row.file.root}/{row.file.path}" for row in places] == [
        f"{music}/rock/0.flac",
        f"{music}/rock/a.ogg",
        f"{other}/copy.ogg",
    ]


def test_files_without_bytes_have_an_identity(music):
    (music / "empty.wav").touch()
    files = {file.path: file for file in scan_catalogue(check_roots([music])).files}
    assert files["empty.wav"].track_id == identity(b"")


def test_files_over_the_limit_are_failures_and_are_not_read(music, monkeypatch):
    with (music / "huge.wav").open("wb") as file:
        file.truncate(2_000_001)  # a hole: it takes no room
    (music / "just.wav").write_bytes(bytes(2_000_000))
    roots = check_roots([music])
    first = scan_catalogue(roots)
    assert len(first.files) == 6
    # The limit counts for what is known from earlier scans, too, and is tried again each time.
    for known in ((), first.files):
        result = scan_catalogue(roots, known, max_file_mb=2)
        (failure,) = result.failures
        assert (failure.code, failure.path) == ("over-limit", f"{music}/huge.wav")
        assert "2.0 MB, more than the 2 MB that decode.max_file_mb allows" in failure.message
        assert len(result.files) == 5
    monkeypatch.setattr("storage.file_identities.track_id_of", None)  # reading would fail
    assert scan_catalogue(roots, result.files, max_file_mb=2).failures == result.failures


@pytest.mark.timeout(10)
def test_links_pipes_and_devices_become_failures(music, tmp_path):
    (tmp_path / "outside.ogg").write_bytes(b"outside")
    (music / "link.ogg").symlink_to(tmp_path / "outside.ogg")
    (music / "dangling.ogg").symlink_to("gone")
    (music / "loop.ogg").symlink_to("loop.ogg")
    os.mkfifo(music / "pipe.ogg")
    result = scan_catalogue(check_roots([music]))
    assert failure_codes(result) == dict.fromkeys(
        ["link.ogg", "dangling.ogg", "loop.ogg", "pipe.ogg"], "not-a-regular-file"
    )
    assert len(result.files) == 4


def test_a_link_to_a_folder_is_no_silent_loss(music, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.ogg").write_bytes(b"x")
    (music / "album").symlink_to(tmp_path / "elsewhere")
    result = scan_catalogue(check_roots([music]))
    assert failure_codes(result) == {"album": "not-a-regular-file"}
    assert "x.ogg" not in {file.path for file in result.files}


def test_a_folder_named_like_a_track_is_looked_into(music):
    (music / "live.mp3").mkdir()
    (music / "live.mp3" / "e.ogg").write_bytes(b"fifth")
    result = scan_catalogue(check_roots([music]))
    assert "live.mp3/e.ogg" in {file.path for file in result.files}
    assert result.failures == ()


def test_resource_forks_of_macos_are_passed_by(music):
    (music / "rock" / "._a.ogg").write_bytes(b"\0\5\x16\7")
    result = scan_catalogue(check_roots([music]))
    assert (len(result.files), result.failures, result.n_ignored) == (4, (), 3)


def test_unreadable_files_and_folders_become_failures(music, ordinary_user):
    (music / "rock/a.ogg").chmod(0)
    (music / "rock-pop").chmod(0)
    (music / "listed").mkdir()
    (music / "listed" / "x.ogg").touch()
    (music / "listed").chmod(0o444)  # can be listed, not entered
    with ordinary_user():
        result = scan_catalogue(check_roots([music]))
    assert failure_codes(result) == {
        "a.ogg": "permission",
        "rock-pop": "permission",
        "x.ogg": "permission",
    }
    assert [file.path for file in result.files] == ["d.wav", "rock/b.ogg"]
    failure = result.failures[0]
    assert (failure.track_id, failure.stage) == ("", "scan")
    assert failure.path == f"{music}/listed/x.ogg"


def test_names_that_are_not_utf_8_are_kept_raw_and_shown_escaped(music):
    raw = os.fsencode(music) + b"/caf\xe9.ogg"
    with open(raw, "wb") as file:  # noqa: PTH123 - a bytes path
        file.write(b"fifth")
    (file,) = [
        file for file in scan_catalogue(check_roots([music])).files if b"caf" in file.path_raw
    ]
    assert (file.path_raw, file.path) == (b"caf\xe9.ogg", "caf\\xe9.ogg")


@pytest.mark.parametrize("name", ["a\nb.ogg", "ünïcode.ogg", "\u202etfos.ogg", "=1+1.ogg", " .ogg"])
def test_odd_names_survive_the_catalogue_table(music, layout, name):
    (music / name).write_bytes(b"odd")
    (music / unicodedata.normalize("NFD", "ünïcode.ogg")).write_bytes(b"odd too")
    result = scan_catalogue(check_roots([music]))
    catalogue = Catalogue(tuple(map(CatalogueRow, result.files)), result.failures)
    write_catalogue(layout, catalogue)
    assert read_catalogue(layout) == catalogue
    assert name in {row.file.path for row in catalogue.rows}


def test_a_file_that_vanishes_during_the_scan_is_a_failure(music, monkeypatch):
    from storage import file_identities

    def vanish(*arguments):
        (music / "rock/b.ogg").unlink(missing_ok=True)
        return identify(*arguments)

    identify = file_identities._identify
    monkeypatch.setattr(file_identities, "_identify", vanish)
    assert failure_codes(scan_catalogue(check_roots([music]))) == {"b.ogg": "vanished"}


def test_a_file_written_to_during_the_scan_is_a_failure(music, monkeypatch):
    from storage import file_identities

    def write_meanwhile(blocks):
        (music / "d.wav").write_bytes(b"fourth and more")
        return track_id_of(blocks)

    track_id_of = file_identities.track_id_of
    monkeypatch.setattr(file_identities, "track_id_of", write_meanwhile)
    monkeypatch.setattr(file_identities, "HASH_THREADS", 1)
    result = scan_catalogue(check_roots([music]))
    assert failure_codes(result) == {"d.wav": "changed-while-reading"}


def test_progress_counts_up_to_the_number_found(music, monkeypatch):
    monkeypatch.setattr("storage.file_identities.HASH_BATCH", 3)
    seen = []
    scan_catalogue(check_roots([music]), on_progress=lambda *numbers: seen.append(numbers))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


# --- roots ---------------------------------------------------------------------------------------


def test_roots_become_absolute_with_one_spelling(music, monkeypatch):
    monkeypatch.chdir(music)
    assert check_roots(["."]) == (str(music),)
    assert check_roots([f"{music}/rock/.."]) == (str(music),)
    assert check_roots([f"{music}/"]) == (str(music),)


def test_a_root_may_be_a_link_and_keeps_its_name(music, tmp_path):
    (tmp_path / "link").symlink_to(music)
    roots = check_roots([tmp_path / "link"])
    assert roots == (str(tmp_path / "link"),)
    assert len(scan_catalogue(roots).files) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "does not exist; check the path, or mount the disk"),
        ("d.wav", "is not a folder"),
        ("d.wav/below", "is not a folder"),
    ],
)
def test_a_root_that_is_no_folder_is_refused(music, name, message):
    with pytest.raises(CatalogueError, match=f"{name} {message}"):
        check_roots([music / name])


def test_no_root_and_an_empty_name_are_refused():
    with pytest.raises(CatalogueError, match="no catalogue is given"):
        check_roots([])
    with pytest.raises(CatalogueError, match="has an empty name"):
        check_roots([""])


def test_an_unreadable_root_is_refused(music, ordinary_user):
    music.chmod(0)
    with ordinary_user(), pytest.raises(CatalogueError, match="cannot be listed: Permission"):
        check_roots([music])


def test_a_root_whose_name_is_not_utf_8_is_refused(tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(raw)  # noqa: PTH102 - a bytes path
    with pytest.raises(CatalogueError, match=r"caf\\xe9' is not UTF-8; rename the folder"):
        check_roots([os.fsdecode(raw)])


@pytest.mark.parametrize("others", [["rock"], ["rock", "rock-pop"]])
def test_nested_roots_are_refused(music, others):
    roots = [music / name for name in others]
    with pytest.raises(CatalogueError, match=f"rock lies inside {music}; name only one"):
        check_roots([*roots, music])


def test_neighbours_with_a_common_beginning_are_not_nested(music):
    assert len(check_roots([music / "rock", music / "rock-pop"])) == 2


def test_a_root_named_twice_is_refused_also_through_a_link(music, tmp_path):
    (tmp_path / "link").symlink_to(music)
    for second in (music, f"{music}/rock/..", tmp_path / "link"):
        with pytest.raises(CatalogueError, match="is named twice"):
            check_roots([music, second])


def test_a_root_without_audio_is_refused_and_says_what_it_has(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CatalogueError, match=r"no audio file lies below .*\(1 other files do\)"):
        scan_catalogue(check_roots([tmp_path]))


# --- the table -----------------------------------------------------------------------------------


def test_the_catalogue_comes_back_with_labels_and_failures(layout, helpers):
    failure = TrackFailure("", "/music/x.ogg", "scan", "permission", "no", 2)
    rows = (
        CatalogueRow(helpers.source_file(1), "blues", "B. B. King", "=007"),
        CatalogueRow(helpers.source_file(2)),
    )
    write_catalogue(layout, Catalogue(rows, (failure,)))
    assert read_catalogue(layout) == Catalogue(rows, (failure,))
    write_catalogue(layout, Catalogue(rows[:1], ()))
    assert read_catalogue(layout) == Catalogue(rows[:1], ())


def test_a_store_without_a_scan_says_how_to_make_one(layout):
    with pytest.raises(ArtefactMissingError, match="has no catalogue yet; run 'musichash scan"):
        read_catalogue(layout)
