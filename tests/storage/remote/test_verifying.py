"""Every byte of a replica, and the pointer and manifests that lead to it."""

import json

import pytest

from storage.errors import DamagedArtefactError
from storage.remote import publish_replica, verify_replicated_snapshot
from storage.snapshots import current_snapshot


def findings_of(place):
    replica = place.replica()
    findings, _, _ = verify_replicated_snapshot(replica, replica.current()[0])
    return {finding.path: finding.problem for finding in findings}


def test_verify_reads_every_byte_of_a_sound_replica(published, place):
    publish_replica(published, place.bucket(), with_features=True)
    replica = place.replica()
    progress = []
    findings, n_files, n_bytes = verify_replicated_snapshot(
        replica, replica.current()[0], on_progress=lambda *so_far: progress.append(so_far)
    )
    content = [
        data
        for path, data in place.objects().items()
        if path.partition("/")[0] in {"tables", "index", "models", "features", "encoded"}
    ]
    assert findings == []
    assert (n_files, n_bytes) == (len(content), sum(map(len, content)))
    assert progress[-1] == (n_bytes, n_bytes)


def test_verify_finds_a_flipped_bit_in_any_object_and_mend_repairs_it(published, place):
    publish_replica(published, place.bucket(), with_features=True)
    sound = place.objects()
    paths = [path for path in sound if path.count("/") > 1 or path.startswith("index")]
    wrong = [path for path in paths if sound[path]]
    assert len(wrong) > 25
    for path in wrong:
        place.flip(path)
    found = findings_of(place)
    listed = {entry.path for entry in current_snapshot(published).files}
    assert found == dict.fromkeys(found, "changed")
    assert listed <= set(found) | {path for path in listed if not sound[path]}
    publish_replica(published, place.bucket(), with_features=True)
    assert findings_of(place) == found  # their sizes are as they should be
    publish_replica(published, place.bucket(), with_features=True, mend=True)
    assert findings_of(place) == {}
    assert place.objects() == sound


@pytest.mark.parametrize("top", ["index", "models", "features"])
def test_verify_names_the_one_object_that_is_wrong(published, place, top):
    with_features = top in {"features", "encoded"}
    publish_replica(published, place.bucket(), with_features=with_features)
    objects = place.objects()
    path = max(
        (path for path in objects if path.startswith(top)), key=lambda path: len(objects[path])
    )
    place.flip(path)
    assert findings_of(place) == {path: "changed"}
    place.write(path, objects[path] + b"!")
    assert findings_of(place) == {path: "changed"}
    place.remove(path)
    assert findings_of(place) == {path: "missing"}
    publish_replica(published, place.bucket(), with_features=with_features)
    assert findings_of(place) == {}


def test_verify_finds_what_nobody_listed(published, place):
    publish_replica(published, place.bucket(), with_features=True)
    generation = current_snapshot(published).generation
    place.write(f"models/{generation}/extra.bin", b"?")
    place.write(f"features/{'f' * 12}/p1/extra.bin", b"?")
    assert findings_of(place) == {
        f"models/{generation}/extra.bin": "extra",
        f"features/{'f' * 12}/p1/extra.bin": "extra",
    }


def test_without_features_only_receipts_are_promised(published, place):
    publish_replica(published, place.bucket())
    assert findings_of(place) == {}
    place.remove(f"features/{'f' * 12}/p1/receipt.json")
    assert findings_of(place) == {f"features/{'f' * 12}/p1/receipt.json": "missing"}


def test_a_changed_manifest_is_refused_and_mended(published, place):
    publish_replica(published, place.bucket())
    sound = place.objects()
    for changed in (b"{", sound["snapshots/000001.json"].replace(b"tables", b"tablex")):
        place.write("snapshots/000001.json", changed)
        with pytest.raises(DamagedArtefactError):
            findings_of(place)
        with pytest.raises(DamagedArtefactError):
            publish_replica(published, place.bucket(), adopt=True)
        publish_replica(published, place.bucket(), adopt=True, mend=True)
        assert place.objects() == sound


def test_paths_that_lead_out_of_a_store_are_refused(published, place):
    """A manifest sealed anew by somebody who wants a file written elsewhere."""
    import hashlib

    publish_replica(published, place.bucket())
    good = json.loads(place.read("snapshots/000001.json"))
    for bad in ("../evil", "tables/../../evil", "/etc/evil", "work/generation.json", "index/.x/y"):
        content = json.loads(json.dumps(good))
        del content["sha256_of_the_rest"]
        content["files"][0]["path"] = bad
        rest = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        content["sha256_of_the_rest"] = hashlib.sha256(rest.encode()).hexdigest()
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        place.write("snapshots/000001.json", text.encode())
        place.write("CURRENT", b"1\n")
        with pytest.raises(DamagedArtefactError, match="no place of a published file"):
            place.replica().current()
