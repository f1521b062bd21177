"""Name, in words that people know, what a file is that cannot be decoded.

Public: `FORMAT_NAMES`, `describe_content`.
"""

FORMAT_NAMES = {
    "wav": "WAV",
    "rf64": "RF64 (WAV beyond 4 GB)",
    "w64": "Wave64",
    "aiff": "AIFF",
    "caf": "CAF (Core Audio)",
    "au": "AU (Sun)",
    "flac": "FLAC",
    "mp3": "MP3 (MPEG audio)",
    "ogg-vorbis": "Ogg Vorbis",
    "ogg-opus": "Ogg Opus",
    "ogg-flac": "Ogg FLAC",
    "ogg-speex": "Ogg Speex",
    "ogg-unknown": "Ogg without a sound stream that is known here",
    "mp4": "M4A or MP4 (AAC, ALAC)",
    "asf": "WMA (ASF)",
    "matroska": "Matroska or WebM",
    "aac-adts": "AAC",
    "aac-adif": "AAC in ADIF",
    "ac3": "AC-3",
    "eac3": "E-AC-3",
    "wavpack": "WavPack",
    "tta": "TTA (True Audio)",
    "dsf": "DSD in DSF",
    "dsdiff": "DSD in DSDIFF",
    "monkeys-audio": "Monkey's Audio (APE)",
    "musepack": "Musepack",
    "tak": "TAK",
    "optimfrog": "OptimFROG",
    "shorten": "Shorten",
    "amr": "AMR (speech)",
    "midi": "MIDI: notes, not sound",
    "tracker-module": "a tracker module: notes and samples, not a recording",
    "realaudio": "RealAudio",
    "realmedia": "RealMedia",
    "rifx": "RIFX (WAV, most significant byte first)",
    "voc": "Creative Voice (VOC)",
    "nist-sphere": "NIST SPHERE",
    "svx": "IFF 8SVX (Amiga)",
    "avi": "AVI video",
    "flv": "Flash video",
    "mpeg-video": "MPEG video",
}
"""A person's name for each container of `musichash_core.decode.sniffing`."""

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (  # in lower case
    (b"#extm3u", "a playlist (M3U)"),
    (b"[playlist]", "a playlist (PLS)"),
    (b"<asx", "a playlist (ASX)"),
    (b"ffconcat", "a script that names other files (ffconcat)"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89png", "a PNG image"),
    (b"gif8", "a GIF image"),
    (b"%pdf", "a PDF document"),
    (b"pk\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"bzh", "a bzip2 archive"),
    (b"\xfd7zxz", "an xz archive"),
    (b"\x7felf", "an executable program"),
    (b"mz", "an executable program"),
    (b"#!", "a script"),
    (b"sqlite format 3", "a database (SQLite)"),
)

_PLAYLIST_ENDINGS = (".mp3", ".flac", ".ogg", ".wav", ".m4a", ".wma", ".opus")
_HARMLESS_CONTROLS = "\t\n\r\f\x1b\ufeff"  # the last marks the byte order
_SHOWN_BYTES = 16


def describe_content(head: bytes) -> str:
    """Say what some content that is no audio looks like.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, a few thousand.
    """
    if not head.strip(b"\0"):
        return f"the first {len(head)} bytes are zeros: a file that was never filled in"
    looks_like = _look_up(head) or _describe_text(head)
    shown = f"the content begins with {head[:_SHOWN_BYTES]!r}: "
    return shown + (f"it looks like {looks_like}" if looks_like else "no audio format")


def _look_up(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:32].lower()
    for magic, name in _BEGINNINGS:
        if start.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image"
    return "a tar archive" if head[257:262] == b"ustar" else None


def _describe_text(head: bytes) -> str | None:
    text = _as_text(head)
    if text is None:
        return None
    lines = [line.strip().lower() for line in text.splitlines() if line.strip()]
    if any(line.endswith(_PLAYLIST_ENDINGS) for line in lines):
        return "a playlist, or a list of files"
    return "plain text"


def _as_text(head: bytes) -> str | None:
    encoding = "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
    text = head.decode(encoding, errors="ignore")  # the last character may be cut
    n_lost = len(head) - len(text.encode(encoding)) if encoding == "utf-8" else 0
    is_printable = all(letter.isprintable() or letter in _HARMLESS_CONTROLS for letter in text)
    return text if text and is_printable and n_lost <= 3 else None
