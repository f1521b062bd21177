"""What can be wrong with artefacts on disk: missing, incompatible, damaged, or in use."""

from musichash_core.errors import MusicHashError


class StoreError(MusicHashError):
    """Root of the errors about a store."""


class ArtefactMissingError(StoreError, FileNotFoundError):
    """Something that should be in the store is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class FormatVersionError(StoreError, ValueError):
    """The store or an artefact was written in another format version."""


class FingerprintMismatchError(StoreError, ValueError):
    """Two artefacts were made with different settings and must not be mixed."""


class DamagedArtefactError(StoreError, ValueError):
    """Bytes on disk differ from what the manifest or receipt says."""


class StoreLockedError(StoreError):
    """Another run is writing to the store."""


class CatalogueError(StoreError):
    """A catalogue root is missing, unreadable, empty, or suddenly much smaller."""

    is_wrong_input = True


class RowFileError(StoreError, ValueError):
    """A file of rows that the owner of a catalogue wrote cannot be read as it stands."""

    is_wrong_input = True


class LabelsError(RowFileError):
    """A labels file cannot be read or does not fit the catalogue."""


class ManifestError(RowFileError):
    """A manifest cannot be read, or names no file that is there."""
