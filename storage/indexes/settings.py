"""Which settings of the index are in force: those of the configuration, or those set by a command.

Public: `IndexSettings`, `settings_in_force`.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from musichash_core.index_config import IndexConfig
from storage.errors import StoreError
from storage.indexes.info import read_index_info
from storage.layout import StoreLayout
from storage.snapshots import Snapshot

BY_COMMAND = "set_by_command"


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """The settings by which an index is made, and where they are from.

    Attributes
    ----------
    config : IndexConfig
    is_by_command : bool
        Whether somebody set them with a command of their own, which stays in force, instead of in
        the configuration.
    """

    config: IndexConfig
    is_by_command: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return self.config.model_dump(mode="json") | {BY_COMMAND: self.is_by_command}


def settings_in_force(
    layout: StoreLayout, snapshot: Snapshot | None, config: IndexConfig | None
) -> IndexSettings:
    """Give the settings by which the next index is made.

    A configuration that says something about the index counts. One that says nothing leaves in
    force what was set by a command, and else means the defaults.

    Parameters
    ----------
    snapshot : Snapshot or None
        The current one.
    config : IndexConfig or None
        Of the configuration; None where there is none, and all settings are kept.
    """
    if config is not None and config != IndexConfig():
        return IndexSettings(config)
    kept = _settings_of(layout, snapshot)
    if kept is not None and (config is None or kept.is_by_command):
        return kept
    return IndexSettings(IndexConfig())


def _settings_of(layout: StoreLayout, snapshot: Snapshot | None) -> IndexSettings | None:
    """Read by which settings the index of a snapshot was made; None where nothing says so."""
    if snapshot is None:
        return None
    try:
        said = dict(read_index_info(layout, snapshot.index_info).get("settings", {}))
        is_by_command = bool(said.pop(BY_COMMAND))
        return IndexSettings(IndexConfig.model_validate(said), is_by_command)
    except (StoreError, ValidationError, KeyError, TypeError, AttributeError):
        return None  # damaged, or of the first format: the index is made anew in any case
