"""Track ids are BLAKE2b of the bytes; fingerprints follow from settings and nothing else."""

import hashlib
import subprocess

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from musichash_core.identity import fingerprint_of, track_id_of


class Settings(BaseModel):
    sr: int = 22_050
    name: str = "mel"


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_track_id_depends_on_the_bytes_not_on_the_blocks(blocks):
    joined = b"".join(blocks)
    expected = hashlib.blake2b(joined, digest_size=16).hexdigest()
    assert track_id_of(blocks) == track_id_of([joined]) == expected


def test_track_id_is_what_b2sum_prints(tmp_path):
    path = tmp_path / "track"
    path.write_bytes(bytes(range(256)) * 100)
    printed = subprocess.run(
        ["b2sum", "-l", "128", path], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split()[0] == track_id_of([path.read_bytes()])


def test_fingerprint_is_the_same_in_every_version():
    # sha256 of '["features",1,{"name":"mel","sr":22050}]', computed with sha256sum.
    assert fingerprint_of("features", 1, Settings()) == "964e53240706"


def test_fingerprint_ignores_the_order_of_keys():
    assert fingerprint_of("x", {"a": 1, "b": 2}) == fingerprint_of("x", {"b": 2, "a": 1})


def test_fingerprint_tells_kind_settings_and_order_of_parts_apart():
    variants = {
        fingerprint_of("a", Settings()),
        fingerprint_of("b", Settings()),
        fingerprint_of("a", Settings(sr=44_100)),
        fingerprint_of("a", Settings(), 1),
        fingerprint_of("a", 1, Settings()),
        fingerprint_of("a", "1", Settings()),
    }
    assert len(variants) == 6
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in variants)
