"""The closed list of reasons why a track failed, with the cause and the remedy of each.

One table serves the failures table, ``musichash failures``, the report and the documentation.
Retryable codes are tried again by the next run; permanent ones wait for a changed file or for
``--retry-failed``.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailureCode:
    """One reason of failure.

    Attributes
    ----------
    code : str
        Stable name, as stored in tables.
    retryable : bool
        Whether the next run should try again by itself.
    cause, remedy : str
        One line each, for operators.
    """

    code: str
    retryable: bool
    cause: str
    remedy: str


_ALL = (
    FailureCode(
        "empty",
        False,
        "The file has no bytes, or no audio samples.",
        "Fetch the file again from its source, or remove it.",
    ),
    FailureCode(
        "not-audio",
        False,
        "The content is not a known audio format, whatever the file is called.",
        "Look at the file: often an HTML error page or a playlist saved under an audio name.",
    ),
    FailureCode(
        "unsupported-format",
        False,
        "The content is audio in a format that this version does not decode.",
        "Convert it to FLAC, WAV, Ogg or MP3; the message names the format met.",
    ),
    FailureCode(
        "truncated",
        False,
        "The file ends before the audio that its container announces.",
        "Fetch the file again: an upload or download stopped half-way.",
    ),
    FailureCode(
        "damaged",
        False,
        "The decoder met data that contradict the format, or samples that are not numbers.",
        "Fetch the file again, or restore it from a backup.",
    ),
    FailureCode(
        "too-short",
        False,
        "The audio is shorter than the configured minimum.",
        "Nothing, or lower decode.min_duration_s.",
    ),
    FailureCode(
        "too-long",
        False,
        "The audio is longer than the configured maximum.",
        "Split the file, or raise decode.max_duration_s.",
    ),
    FailureCode(
        "over-limit",
        False,
        "Sample rate, channels or file size are outside the configured limits.",
        "Convert the file, or change the limit that the message names.",
    ),
    FailureCode(
        "not-a-regular-file",
        False,
        "The path is a link, a directory, a pipe or a device.",
        "Put a plain file there; links are not followed below a catalogue root.",
    ),
    FailureCode(
        "outside-root",
        False,
        "The path leads out of the catalogue root.",
        "Add the other place as a catalogue root of its own.",
    ),
    FailureCode(
        "permission",
        True,
        "The file cannot be opened by the user who runs musichash.",
        "Grant read permission to that user.",
    ),
    FailureCode(
        "vanished",
        True,
        "The file was listed by the scan and is gone.",
        "Nothing: the next scan will settle it.",
    ),
    FailureCode(
        "changed-while-reading",
        True,
        "The file changed between the scan and the end of reading.",
        "Nothing: the next run reads it again; stop writing to the catalogue while it runs.",
    ),
    FailureCode(
        "read-error",
        True,
        "The disk or the network file system returned an error.",
        "Check the device and its connection, then run again.",
    ),
    FailureCode(
        "timeout",
        True,
        "Decoding took longer than its deadline.",
        "Look at the file and at the load of the machine, then run with --retry-failed.",
    ),
    FailureCode(
        "memory",
        True,
        "Decoding needed more memory than a worker may use.",
        "Look at the file; raise the worker's memory limit if the file is sound.",
    ),
    FailureCode(
        "decoder-crashed",
        False,
        "The process that decoded the file died.",
        "Keep the file for a bug report; it is quarantined and not tried again by itself.",
    ),
)

FAILURE_CODES: dict[str, FailureCode] = {entry.code: entry for entry in _ALL}
"""Every failure code by its name."""

QUARANTINE_CODE = "decoder-crashed"
"""The failure that counts as quarantined: the track killed the process that read it."""
