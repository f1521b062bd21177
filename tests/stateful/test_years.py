"""Random histories of a store: changes, nights, kills, backfills, promotions, roll-backs, gc."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def live_through(work, music, *numbers):
    """Run histories in a process of their own; see histories.py."""
    script = [sys.executable, HERE / "histories.py", work, music, *numbers]
    done = subprocess.run(
        list(map(str, script)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_store_holds_what_the_model_says_after_every_step(tmp_path, music_root):
    live_through(tmp_path / "bench", music_root, 8, 12, 6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_store_holds_what_the_model_says_through_long_histories(tmp_path, music_root):
    live_through(tmp_path / "bench", music_root, 20, 30, 7)
