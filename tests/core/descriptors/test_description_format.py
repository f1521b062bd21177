"""The fingerprint of descriptions, and what importing the package costs."""

import subprocess
import sys

from musichash_core.descriptors import (
    DESCRIPTION_FORMAT,
    DESCRIPTION_NETWORK,
    description_fingerprint,
    description_format,
)
from musichash_core.descriptors.description_format import DESCRIPTION_NETWORK_SHA256
from musichash_core.musicnn.pretrained import NETWORKS


def test_the_network_is_the_shipped_one():
    assert NETWORKS[DESCRIPTION_NETWORK].sha256 == DESCRIPTION_NETWORK_SHA256


def test_the_fingerprint_follows_format_and_network(monkeypatch):
    fingerprints = {description_fingerprint(), description_fingerprint()}
    assert DESCRIPTION_FORMAT == 1
    assert len(fingerprints) == 1
    monkeypatch.setattr(description_format, "DESCRIPTION_FORMAT", 2)
    fingerprints.add(description_fingerprint())
    monkeypatch.setattr(description_format, "DESCRIPTION_NETWORK_SHA256", "0" * 64)
    fingerprints.add(description_fingerprint())
    assert len(fingerprints) == 3
    assert all(len(one) == 12 and int(one, 16) >= 0 for one in fingerprints)


def test_asking_for_the_fingerprint_does_not_import_torch():
    program = (
        "import sys\n"
        "from musichash_core.descriptors import description_fingerprint, describe_track\n"
        "print(description_fingerprint(), 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [description_fingerprint(), "False"]
