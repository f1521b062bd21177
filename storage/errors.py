"""What can be wrong with artefacts on disk: missing, incompatible, damaged, or in use."""

from musichash_core.errors import MusicHashError


class StoreError(MusicHashError):
    """Root of the errors about a store."""


class ArtefactMissingError(StoreError, FileNotFoundError):
    """Something that should be in the store is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NoStoreError(ArtefactMissingError):
    """The folder that was named as a store is none."""

    is_wrong_input = True


class StorePlaceError(StoreError):
    """A store cannot lie where it was asked for: beside other files, in a store, in a catalogue."""

    is_wrong_input = True


class UnknownSnapshotError(StoreError):
    """Somebody asked for a snapshot that the store does not have."""

    is_wrong_input = True


class FormatVersionError(StoreError, ValueError):
    """The store or an artefact was written in another format version."""


def other_format(
    what: str, found: object, readable: int, *, instead: str | None = None
) -> FormatVersionError:
    """Say that something has another format than this version reads, and what to do.

    Parameters
    ----------
    what : str
        The artefact: its kind and its path.
    found : object
        The format that it names, whatever it is.
    readable : int
        The format that this version reads and writes.
    instead : str, optional
        What else can be done, where there is a better way than a new store: the end of a sentence.
    """
    says = f"{what} has format {found}, this version reads format {readable}; "
    otherwise = f"; {instead}" if instead else ""
    if not isinstance(found, int) or isinstance(found, bool):
        return FormatVersionError(
            f"{says}that is no format: restore the file from a copy{otherwise}"
        )
    if found > readable:
        return FormatVersionError(
            f"{says}a newer version of musichash wrote it: use that version, nothing was changed"
            f"{otherwise}"
        )
    return FormatVersionError(
        f"{says}an older version of musichash wrote it: use that version"
        f"{otherwise or ', or build a new store in another folder'}"
    )


class FingerprintMismatchError(StoreError, ValueError):
    """Two artefacts were made with different settings and must not be mixed."""


class DamagedArtefactError(StoreError, ValueError):
    """Bytes on disk differ from what the manifest or receipt says."""


class StoreLockedError(StoreError):
    """Another process has the right that was asked for: to write, or to backfill."""


class LockLostError(StoreError):
    """Another process took the store over while this one gave no sign of life."""


class TemporarySpaceError(StoreError):
    """The folder for temporary files is full or cannot be written."""


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
