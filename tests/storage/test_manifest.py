"""Manifests: the files they name and no others, and rows that are data, whatever they hold."""

import os

import pytest

from storage.catalogue import check_roots
from storage.errors import ManifestError
from storage.manifest import read_manifest, scan_manifest

FILES = {"rock/a.ogg": b"first", "rock/b.ogg": b"second", "note.txt": b"third", "d.wav": b"fourth"}


@pytest.fixture
def music(tmp_path):
    root = tmp_path / "music"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (tmp_path / "outside.ogg").write_bytes(b"outside")
    return root


@pytest.fixture
def manifest(tmp_path, music):
    """Write a manifest of some content and read it for some roots; one by default."""

    def read(content, *roots, name="list.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        spelled = [str(root) for root in roots or (music,)]
        return read_manifest(path, check_roots(spelled), spellings=spelled)

    return read


def paths(rows):
    return [row.file.path for row in rows]


def told(result):
    return {failure.message.split(" of ")[0]: failure.code for failure in result.failures}


def test_the_files_that_are_named_are_taken_and_no_others(manifest):
    result = scan_manifest(manifest("path\nrock/b.ogg\nnote.txt\n"))
    rows = result.catalogue.rows
    # Neither the order nor the suffix decides: the owner has named the file.
    assert paths(rows) == ["note.txt", "rock/b.ogg"]
    assert [file.path for file in result.files] == paths(rows)
    assert (result.failures, result.n_hashed, result.n_ignored) == ((), 2, 0)


def test_what_the_owner_knows_comes_with_the_file(manifest):
    listed = manifest(
        "id,path,label,group,bpm\n007,rock/a.ogg,rock,Queen,120\n=1+1,d.wav,,,\n,rock/b.ogg,NA,,1\n"
    )
    assert listed.passed_by == ("bpm",)
    rows = scan_manifest(listed).catalogue.rows
    assert [(row.file.path, row.external_id, row.label, row.group) for row in rows] == [
        ("d.wav", "=1+1", None, None),
        ("rock/a.ogg", "007", "rock", "Queen"),
        ("rock/b.ogg", None, "NA", None),
    ]


@pytest.mark.parametrize(
    ("content", "has_labels"),
    [("path\nd.wav\n", False), ("path,label\nd.wav,\n", True), ("path,group\nd.wav,x\n", True)],
)
def test_a_manifest_with_a_column_of_labels_gives_the_labels(manifest, content, has_labels):
    assert manifest(content).has_labels is has_labels


def test_unchanged_files_are_not_read_again(manifest, music, monkeypatch):
    listed = manifest("path\nrock/a.ogg\nd.wav\n")
    first = scan_manifest(listed)
    os.utime(music / "d.wav", ns=(0, 1_000_000_001))
    second = scan_manifest(listed, first.files)
    assert second.n_hashed == 1
    monkeypatch.setattr("storage.file_identities.open_beneath", None)  # reading would fail
    third = scan_manifest(listed, second.files)
    rows = third.catalogue.rows
    assert (third.files, third.n_hashed, len(rows)) == (second.files, 0, 2)


BAD_ROWS = {
    "../outside.ogg": "has the component '..'",
    "rock/../../outside.ogg": "has the component '..'",
    "rock/../d.wav": "has the component '..'",
    "./d.wav": "has the component '.'",
    "rock//a.ogg": "has the component ''",
    "rock/": "has the component ''",
    "/etc/passwd": "is absolute",
    "//host/share": "is absolute",
    "http://example.org/a.ogg": "is a URL",
    "file:///etc/passwd": "is a URL",
    "file:/etc/passwd": "is a URL",
    "concat://a|b": "is a URL",
    "rock/a.ogg\0.txt": "holds a NUL byte",
    "": "is empty",
}


@pytest.mark.parametrize("name", BAD_ROWS, ids=repr)
def test_a_row_that_cannot_name_a_file_below_the_root_is_a_failure(manifest, name):
    listed = manifest(f'path,label\n"{name}",x\nd.wav,y\n')
    result = scan_manifest(listed)
    rows = result.catalogue.rows
    assert paths(rows) == ["d.wav"]
    (failure,) = result.failures
    assert (failure.track_id, failure.stage, failure.code) == ("", "scan", "outside-root")
    assert failure.message.startswith("line 2 of list.csv: the path ")
    assert BAD_ROWS[name] in failure.message


GONE = [
    "gone.ogg",
    "gone/a.ogg",
    "*.ogg",
    "rock/?.ogg",
    "$(touch x)",
    "~/d.wav",
    "D.WAV",
    "rock\\a",
]


@pytest.mark.parametrize(
    "name",
    [*GONE, "x" * 300, "y/" * 3_000 + "z", "d.wav ", "a=1;b", "d.wav\n"],
    ids=lambda n: n[:9],
)
def test_a_row_that_names_no_file_is_a_failure(manifest, name):
    result = scan_manifest(manifest(f'path\n"{name}"\nd.wav\n'))
    rows = result.catalogue.rows
    assert paths(rows) == ["d.wav"]
    (failure,) = result.failures
    assert failure.code == "vanished"
    assert failure.message.startswith("line 2 of list.csv: no file ")
    assert len(failure.message) < 1_500
    assert len(failure.path) < 1_500


@pytest.mark.timeout(10)
def test_links_folders_and_pipes_are_failures_and_lead_nowhere(manifest, music, tmp_path):
    (music / "link.ogg").symlink_to(tmp_path / "outside.ogg")
    (music / "inside.ogg").symlink_to("d.wav")
    (music / "away").symlink_to(tmp_path)
    os.mkfifo(music / "pipe.ogg")
    names = ["link.ogg", "inside.ogg", "away/outside.ogg", "pipe.ogg", "rock", "d.wav/x", "d.wav"]
    result = scan_manifest(manifest("path\n" + "\n".join(names)))
    rows = result.catalogue.rows
    assert paths(rows) == ["d.wav"]
    assert told(result) == {f"line {at}": "not-a-regular-file" for at in range(2, 8)}


def test_a_folder_that_became_a_link_is_noticed_though_size_and_time_are_the_same(
    manifest, music, tmp_path
):
    listed = manifest("path\nrock/a.ogg\nd.wav\n")
    first = scan_manifest(listed)
    (music / "rock").rename(tmp_path / "moved")
    (music / "rock").symlink_to(tmp_path / "moved")
    result = scan_manifest(listed, first.files)
    assert told(result) == {"line 2": "not-a-regular-file"}


def test_files_that_may_not_be_read_are_failures(manifest, music, ordinary_user):
    (music / "d.wav").chmod(0)
    (music / "rock").chmod(0)
    listed = manifest("path\nd.wav\nrock/a.ogg\nnote.txt\n")
    with ordinary_user():
        result = scan_manifest(listed)
        rows = result.catalogue.rows
    assert paths(rows) == ["note.txt"]
    assert told(result) == {"line 2": "permission", "line 3": "permission"}


def test_files_over_the_limit_are_failures(manifest, music):
    (music / "d.wav").write_bytes(bytes(1_000_001))
    result = scan_manifest(manifest("path\nd.wav\nnote.txt\n"), max_file_mb=1)
    rows = result.catalogue.rows
    assert (paths(rows), told(result)) == (["note.txt"], {"line 2": "over-limit"})


def test_names_that_are_not_utf_8_are_spelled_as_the_catalogue_spells_them(manifest, music):
    raw = os.fsencode(music) + b"/caf\xe9.ogg"
    with open(raw, "wb") as file:  # noqa: PTH123 - a bytes path
        file.write(b"fifth")
    (music / "lit\\xe9ral.ogg").write_bytes(b"sixth")
    (music / "d\\x2ewav").write_bytes(b"seventh")
    names = ["caf\\xe9.ogg", "lit\\xe9ral.ogg", "d\\x2ewav", "\\x2e\\x2e/outside.ogg"]
    result = scan_manifest(manifest("path\n" + "\n".join(names)))
    rows = result.catalogue.rows
    assert [row.file.path_raw for row in rows] == [
        b"caf\xe9.ogg",
        b"d\\x2ewav",
        b"lit\\xe9ral.ogg",
    ]
    assert told(result) == {"line 5": "vanished"}


def test_two_spellings_of_one_file_are_refused(manifest, music):
    (music / "café.ogg").write_bytes(b"fifth")
    with pytest.raises(ManifestError, match=r"line . of list\.csv names the same file as line ."):
        scan_manifest(manifest("path\ncafé.ogg\ncaf\\xc3\\xa9.ogg\n"))


def test_files_are_told_by_line_in_json_lines_and_by_row_in_parquet(manifest, tmp_path, music):
    listed = manifest('{"path": "../x"}\n{"path": "d.wav"}\n{"id": "3"}\n', name="list.jsonl")
    assert [failure.message.split(":")[0] for failure in listed.failures] == [
        "line 1 of list.jsonl",
        "line 3 of list.jsonl",
    ]
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"path": ["d.wav", None]}), tmp_path / "list.parquet")
    (failure,) = read_manifest(tmp_path / "list.parquet", (str(music),)).failures
    assert failure.message == "row 2 of list.parquet: the path is empty"


# --- several roots ---


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "d.wav").write_bytes(b"another fourth")
    return tmp_path / "other"


def test_of_several_roots_each_row_names_its_own(manifest, music, other, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    listed = manifest(
        f"path,root\nd.wav,{music}\nd.wav,other\nnote.txt,{music}/\nd.wav,/elsewhere\nd.wav,\n",
        *(music, "other"),
    )
    result = scan_manifest(listed)
    rows = result.catalogue.rows
    assert [(row.file.root, row.file.path) for row in rows] == [
        (str(music), "d.wav"),
        (str(music), "note.txt"),
        (str(other), "d.wav"),
    ]
    assert told(result) == {"line 5": "outside-root", "line 6": "outside-root"}
    assert f"the root '/elsewhere' is none of the catalogues {music}, {other}" in str(
        result.failures
    )


def test_several_roots_and_no_column_for_them_are_refused(manifest, music, other):
    with pytest.raises(ManifestError, match="has no column 'root', and there are 2 catalogues"):
        manifest("path\nd.wav\n", music, other)


def test_one_root_needs_no_column_and_a_column_must_agree(manifest, music):
    listed = manifest(f"path,root\nd.wav,{music}\nnote.txt,\nrock/a.ogg,/else\n")
    assert [row.path for row in listed.rows] == ["d.wav", "note.txt"]
    assert len(listed.failures) == 1


# --- what stops ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\n", "names no file; give it one row for each"),
        ("path\nd.wav\nrock/a.ogg\nd.wav\n", "line 4: 'd.wav' stands in line 2 already; keep one"),
        ("path,label\nd.wav,a\0b\n", "line 2: it holds NUL bytes"),
        ("paths\nd.wav\n", "lacks 'path' .did you mean it by 'paths'"),
        ("path,lable\nd.wav,x\n", "has a column 'lable'; did you mean 'label'"),
        ("path,label\nd.wav\n", "line 2: 1 fields where the header has 2"),
    ],
)
def test_a_manifest_that_cannot_be_taken_as_a_whole_stops(manifest, content, message):
    with pytest.raises(ManifestError, match=rf"list\.csv.* {message}") as caught:
        manifest(content)
    assert caught.value.is_wrong_input


def test_a_manifest_of_which_no_file_is_there_stops(manifest):
    listed = manifest("path\ngone.ogg\n../x\n")
    with pytest.raises(
        ManifestError, match=r"not one of the 2 files that .*list\.csv names is there"
    ):
        scan_manifest(listed)
