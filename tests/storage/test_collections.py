"""The register of collections: names, what is refused, what stands on disk."""

import json

import pytest

from storage.collections import (
    Collection,
    CollectionError,
    check_collection_name,
    read_collections,
    register_collection,
    remove_collection,
)
from storage.errors import DamagedArtefactError, FormatVersionError

RADIO = Collection("radio", "/mnt/radio", labels="/lists/radio.csv")
ALBUMS = Collection("albums.2020", "/mnt/albums", manifest="/lists/albums.csv")


def test_a_store_without_a_register_has_no_collections(layout):
    assert read_collections(layout) == ()


def test_registered_collections_come_back_sorted_by_name(layout):
    register_collection(layout, RADIO)
    register_collection(layout, ALBUMS)
    assert read_collections(layout) == (ALBUMS, RADIO)


def test_the_register_is_plain_json_without_times_or_hosts(layout):
    register_collection(layout, RADIO)
    assert json.loads((layout.root / "collections.json").read_text(encoding="utf-8")) == {
        "format": 1,
        "collections": [
            {
                "name": "radio",
                "root": "/mnt/radio",
                "labels": "/lists/radio.csv",
                "manifest": None,
            }
        ],
    }


def test_registering_the_same_again_changes_nothing(layout):
    register_collection(layout, RADIO)
    before = layout.collections_path.stat().st_mtime_ns
    register_collection(layout, RADIO)
    assert read_collections(layout) == (RADIO,)
    assert layout.collections_path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Collection("radio", "/mnt/other"), "'radio' is registered with the root /mnt/radio"),
        (Collection("radio", "/mnt/radio"), "labels /lists/radio.csv, not the root /mnt/radio"),
        (Collection("tv", "/mnt/radio"), "registered already, as the collection 'radio'"),
    ],
)
def test_a_name_or_root_that_is_registered_otherwise_is_refused(layout, other, message):
    register_collection(layout, RADIO)
    with pytest.raises(CollectionError, match=message):
        register_collection(layout, other)
    assert read_collections(layout) == (RADIO,)


@pytest.mark.parametrize("name", ["a", "7", "radio-archive", "a.b_c-d", "x" * 64])
def test_names_that_are_fit(name):
    assert check_collection_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Radio", "-a", "a-", ".a", "a/b", "a b", "..", "x" * 65, "é", "a\n", "a\x00"]
)
def test_names_that_are_not_fit(name):
    with pytest.raises(CollectionError, match="no name for a collection"):
        check_collection_name(name)


def test_a_removed_collection_is_given_and_gone(layout):
    register_collection(layout, RADIO)
    register_collection(layout, ALBUMS)
    assert remove_collection(layout, "radio") == RADIO
    assert read_collections(layout) == (ALBUMS,)


def test_removing_what_is_not_registered_names_what_is(layout):
    register_collection(layout, RADIO)
    with pytest.raises(CollectionError, match=r"no collection 'tv'; registered: 'radio'"):
        remove_collection(layout, "tv")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"format": 2, "collections": []}, FormatVersionError),
        ({"format": 1}, DamagedArtefactError),
        ({"format": 1, "collections": [{"name": "radio"}]}, DamagedArtefactError),
        ({"format": 1, "collections": [{"name": "../x", "root": "/"}]}, DamagedArtefactError),
    ],
)
def test_a_register_that_is_none_is_refused(layout, content, error):
    layout.collections_path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(error, match=r"collections\.json"):
        read_collections(layout)
