"""The closed lists of reasons why a track failed, and of what was odd about one that did not.

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
        "The content is in a format, or protected in a way, that this version does not decode.",
        "Convert it to FLAC, WAV, Ogg, MP3 or M4A; the message names the format met.",
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
        "The path leads out of the catalogue root, or is no plain path below it.",
        "Add the other place as a catalogue of its own, or correct the manifest's row.",
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
        "The file was listed by the scan, or named by the manifest, and is not there.",
        "Nothing: the next scan will settle it; or correct the manifest's row.",
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
        "Decoding took longer than its deadline, so its process was stopped.",
        "Look at the machine's load and disk; if the file is sound, raise decode.deadline_s.",
    ),
    FailureCode(
        "memory",
        True,
        "Decoding needed more memory than its process may use, or the machine had none left.",
        "Look at the machine's free memory; if the file is sound, raise decode.memory_mb.",
    ),
    FailureCode(
        "decoder-crashed",
        False,
        "The process that decoded the file died, twice.",
        "Fetch the file again; if it stays so, keep it for a bug report. It is in quarantine.",
    ),
)

FAILURE_CODES: dict[str, FailureCode] = {entry.code: entry for entry in _ALL}
"""Every failure code by its name."""

DECODE_WARNINGS: dict[str, str] = {
    "length-differs": "The sound is up to half a second longer or shorter than announced.",
    "length-unknown": "The header gives no length; whatever is there is decoded.",
    "header-lies": "The header announces less sound than there is; all of it is decoded.",
    "joined-streams": "Several MP3 or FLAC files were put one behind the other; all are decoded.",
    "chained-streams": "Several Ogg streams follow one another; all are decoded.",
    "several-streams": "There are several sound tracks; the default one or the first is decoded.",
    "junk-skipped": "Bytes between MP3 frames that are none of them were passed over.",
    "last-frame-cut": "The file ends inside its last MP3 frame, and nothing says how many follow.",
    "pages-missing": "The numbers of the Ogg pages leave a gap before the first sound.",
    "no-end-mark": "The last piece is whole, but does not say that it is the last.",
    "data-after-end": "Much lies behind the sound that is neither sound nor a known tag.",
}
"""What a track's warnings mean. The sound of such a track is all there, as far as can be told."""

QUARANTINE_CODE = "decoder-crashed"
"""The failure that counts as quarantined: the track killed the process that read it."""
