"""Which generation is in force: a name, and while a promotion is under way the snapshot decides."""

import json

import pytest

from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.generations import (
    UnknownGenerationError,
    announce_generation,
    find_generation,
    list_generations,
    select_generation,
    selected_generation,
)
from storage.layout import RECEIPT_NAME
from storage.snapshots import Snapshot, publish_snapshot


def put(layout, *names):
    """Put folders there that look like generations."""
    for name in names:
        layout.model_path(name).mkdir(parents=True)
        (layout.model_path(name) / RECEIPT_NAME).write_text("{}")


def publish(layout, generation):
    content = Snapshot(0, "f" * 12, generation, {}, "i", "j", {"codes": 1}, (), digest=generation)
    publish_snapshot(layout, content)


def test_a_name_or_its_beginning_finds_one_generation(layout):
    put(layout, "g-12ab", "g-12", "g-34cd")
    layout.model_path("g-half").mkdir()  # without a receipt: not complete
    layout.model_path(".tmp-g-9").mkdir()
    assert list_generations(layout) == ["g-12", "g-12ab", "g-34cd"]
    assert find_generation(layout, "g-12") == "g-12"  # although it begins another
    assert find_generation(layout, "g-12a") == "g-12ab"
    assert find_generation(layout, "g-3") == "g-34cd"
    with pytest.raises(UnknownGenerationError, match=r"begins 2 model generations: g-12, g-12ab"):
        find_generation(layout, "g-1")


@pytest.mark.parametrize("name", ["", "g-9", "../models", "g-half"])
def test_other_names_are_refused_with_those_that_are_there(layout, name):
    put(layout, "g-12ab")
    with pytest.raises(UnknownGenerationError, match=r"it has g-12ab: 'musichash models list'"):
        find_generation(layout, name)


def test_a_store_without_models_has_none(layout):
    assert list_generations(layout) == []
    with pytest.raises(UnknownGenerationError, match="it has none"):
        find_generation(layout, "g-1")


def test_an_announced_generation_is_in_force_as_soon_as_it_is_published(layout):
    select_generation(layout, "g-old")
    publish(layout, "g-old")
    announce_generation(layout, "g-new")
    assert selected_generation(layout) == "g-old"
    publish(layout, "g-new")
    assert selected_generation(layout) == "g-new"
    publish(layout, "g-new")  # the next night, before anybody ended the announcement
    assert selected_generation(layout) == "g-new"
    select_generation(layout, "g-new")
    assert selected_generation(layout) == "g-new"


def test_an_announcement_of_a_killed_promotion_says_nothing_to_later_nights(layout):
    select_generation(layout, "g-old")
    announce_generation(layout, "g-new")
    assert selected_generation(layout) == "g-old"  # nothing is published at all
    publish(layout, "g-old")
    assert selected_generation(layout) == "g-old"
    announce_generation(layout, "g-other")  # of what is in force, not of what was announced
    publish(layout, "g-other")
    assert selected_generation(layout) == "g-other"


def test_nothing_can_be_announced_where_nothing_is_in_force(layout):
    with pytest.raises(ArtefactMissingError, match="run 'musichash train' first"):
        announce_generation(layout, "g-new")
    assert selected_generation(layout) is None


@pytest.mark.parametrize(
    "content", [{}, {"generation": 3}, {"generation": "g-1", "announced": ["g-2"]}]
)
def test_a_file_that_names_no_model_is_refused(layout, content):
    layout.generation_path.parent.mkdir(exist_ok=True)
    layout.generation_path.write_text(json.dumps(content))
    with pytest.raises(DamagedArtefactError, match="names no model; remove it"):
        selected_generation(layout)
