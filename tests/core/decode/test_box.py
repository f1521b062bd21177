"""The decoder process: samples as in this process, and a named end for whatever breaks it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.decode import AudioStream, DecodeConfig, DecoderBox
from musichash_core.decode.box.confinement import sandbox_command
from musichash_core.decode.box.decoder_box import BoxStartError
from musichash_core.decode.box.messages import N_BLOCKS, End, SharedBlocks, parse_answer
from musichash_core.decode.reader import BLOCK_FRAMES
from musichash_core.decode.tags import AudioTags
from musichash_core.errors import ConfigError, DecodeError

SHORT = DecodeConfig(min_duration_s=0.01, deadline_s=20)
IMPATIENT = DecodeConfig(min_duration_s=0.01, deadline_s=1.0, deadline_per_audio_s=0.0)


@pytest.fixture(scope="module")
def box():
    with DecoderBox(SHORT) as box:
        yield box


def opened(path):
    return os.open(path, os.O_RDONLY)


def decode(opener, path):
    with opener(opened(path)) as stream:
        return np.concatenate([np.zeros(0, np.float32), *stream.blocks()]), stream


def here(descriptor):
    return AudioStream(descriptor, SHORT)


def open_descriptors():
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def is_gone(pid, within_s=10.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if status_of(pid)["State"].startswith("Z"):
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


# --- the same as without a box -------------------------------------------------------------------


def test_real_music_comes_out_bit_for_bit(box, music_root):
    paths = sorted(path for path in music_root.glob("*/*") if "truncated" not in path.name)[::4]
    assert len(paths) > 10
    for path in paths:
        expected, stream = decode(here, path)
        got, boxed = decode(box.open, path)
        assert np.array_equal(got, expected)
        assert (boxed.info, boxed.n_frames, boxed.warnings, boxed.tags) == (
            stream.info,
            stream.n_frames,
            stream.warnings,
            stream.tags,
        )


def test_a_refusal_comes_out_word_for_word(box, music_root):
    path = music_root / "electronic" / "singularity-advanced-simulacra-truncated.ogg"
    refusals = []
    for opener in (here, box.open):
        with pytest.raises(DecodeError) as caught:
            decode(opener, path)
        refusals.append((caught.value.code, str(caught.value)))
    assert refusals[0] == refusals[1]


def test_many_blocks_pass_through_in_order(box, sounds):
    y = sounds.noise(0, duration_s=1.0, sr=(2 * N_BLOCKS + 3) * BLOCK_FRAMES + 17)
    path = sounds.write("long.wav", y, 48_000, subtype="FLOAT")
    got, stream = decode(box.open, path)
    assert np.array_equal(got, y)
    assert stream.n_frames == len(y)


def test_a_stream_gives_the_rate_that_is_asked_for(box, sounds):
    path = sounds.write("a.wav", sounds.tone(1000, sr=44_100), 44_100)
    with box.open(opened(path)) as stream:
        boxed = np.concatenate(list(stream.resampled(22_050)))
    with here(opened(path)) as stream:
        assert np.array_equal(boxed, np.concatenate(list(stream.resampled(22_050))))


def test_one_process_serves_file_after_file_and_leaks_no_descriptor(box, sounds):
    good = sounds.write("good.wav", sounds.noise(0))
    bad = sounds.folder / "bad.wav"
    bad.write_bytes(b"RIFF\0\0\0\0WAVEfmt ")
    decode(box.open, good)
    pid, before = box.pid, open_descriptors()
    for _ in range(20):
        decode(box.open, good)
        with pytest.raises(DecodeError):
            decode(box.open, bad)
    assert box.pid == pid
    assert set(open_descriptors()) <= set(before)
    assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 10


@pytest.mark.parametrize("n_taken", [0, 1, N_BLOCKS, N_BLOCKS + 2])
def test_a_file_may_be_left_in_the_middle(box, sounds, n_taken):
    long = sounds.write("long.wav", sounds.noise(1, sr=500_000, duration_s=3), 48_000)
    short = sounds.write("short.wav", sounds.noise(2), subtype="FLOAT")
    with box.open(opened(long)) as stream:
        blocks = stream.blocks()
        for _ in range(n_taken):
            next(blocks)
    assert np.array_equal(decode(box.open, short)[0], sounds.noise(2))


def test_what_files_cost_is_counted(sounds):
    with DecoderBox(SHORT) as box:
        path = sounds.write("a.flac", sounds.noise(0, sr=44_100, duration_s=20), 44_100)
        decode(box.open, path)
        first = box.cpu_s
        decode(box.open, path)
    assert 0 < first < 5
    assert box.cpu_s > first
    assert 20e6 < box.peak_memory_bytes < 200e6
    assert box.n_deaths == 0


# --- whatever breaks it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGSEGV, "decoder-crashed"),
        (signal.SIGABRT, "decoder-crashed"),
        (signal.SIGXCPU, "timeout"),
        (signal.SIGKILL, "memory"),  # nobody but the kernel's out-of-memory killer sends it
        (signal.SIGSTOP, "timeout"),
    ],
)
def test_a_process_that_dies_or_stalls_costs_one_file(sounds, number, code):
    path = sounds.write("a.wav", sounds.noise(0, sr=500_000, duration_s=3), 48_000)
    with DecoderBox(IMPATIENT) as box:
        whole, _ = decode(box.open, path)
        pid = box.pid
        with box.open(opened(path)) as stream:
            blocks = stream.blocks()
            next(blocks)
            os.kill(pid, number)
            started = time.monotonic()
            with pytest.raises(DecodeError) as caught:
                list(blocks)
        assert caught.value.code == code
        assert time.monotonic() - started < 10
        assert is_gone(pid)
        again, _ = decode(box.open, path)
        assert np.array_equal(again, whole)
        assert box.pid != pid
        assert box.n_deaths == 1


def test_a_process_that_died_between_files_costs_no_file(sounds):
    path = sounds.write("a.wav", sounds.noise(0))
    with DecoderBox(SHORT) as box:
        decode(box.open, path)
        os.kill(box.pid, signal.SIGKILL)
        assert is_gone(box.pid)
        decode(box.open, path)
        assert box.n_deaths == 0


def test_a_process_that_gives_more_than_its_limits_allow_is_stopped(sounds):
    path = sounds.write("a.wav", sounds.noise(0, duration_s=3.0))
    with DecoderBox(SHORT) as box:
        decode(box.open, path)
        box.config = SHORT.model_copy(update={"max_duration_s": 2.0})  # which it does not know
        with pytest.raises(DecodeError, match="more audio than it was allowed to") as caught:
            decode(box.open, path)
    assert caught.value.code == "decoder-crashed"


def test_the_time_that_the_owner_takes_is_not_the_decoders(sounds):
    path = sounds.write("a.wav", sounds.noise(0, sr=500_000, duration_s=3), 48_000)
    with DecoderBox(IMPATIENT) as box, box.open(opened(path)) as stream:
        blocks = stream.blocks()
        next(blocks)
        time.sleep(1.5)
        list(blocks)


def test_a_file_that_needs_more_memory_than_allowed_is_named(sounds):
    frames = np.zeros((10, 1024), np.float32)
    path = sounds.write("wide.wav", frames, 48_000, subtype="FLOAT")
    config = DecodeConfig(min_duration_s=1e-4, max_channels=1024, memory_mb=300)
    with DecoderBox(config) as box:
        with pytest.raises(DecodeError, match=r"decode\.memory_mb = 300") as caught:
            decode(box.open, path)
        assert caught.value.code == "memory"
        decode(box.open, sounds.write("a.wav", sounds.noise(0)))
    with DecoderBox(config.model_copy(update={"memory_mb": 2_000})) as box:
        assert decode(box.open, path)[1].n_frames == 10


def test_the_process_ends_with_its_owner(sounds):
    path = sounds.write("a.wav", sounds.noise(0))
    program = (
        "import os, sys, time\n"
        "from musichash_core.decode import DecodeConfig, DecoderBox\n"
        "box = DecoderBox(DecodeConfig())\n"
        "stream = box.open(os.open(sys.argv[1], os.O_RDONLY))\n"
        "print(box.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        pid = int(owner.stdout.readline())
        assert not is_gone(pid, within_s=0.2)
        owner.kill()
        assert is_gone(pid)


# --- what it is not allowed ----------------------------------------------------------------------


def test_the_process_is_confined(box, sounds, monkeypatch):
    decode(box.open, sounds.write("a.wav", sounds.noise(0)))
    status = status_of(box.pid)
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    assert set(status["Uid"].split()) != {"0"}
    limits = Path(f"/proc/{box.pid}/limits").read_text(encoding="ascii").splitlines()
    soft = {line[:26].strip(): line[26:].split()[0] for line in limits[1:]}
    assert soft["Max file size"] == "0"
    assert soft["Max core file size"] == "0"
    assert soft["Max processes"] == "0"
    assert int(soft["Max address space"]) == SHORT.memory_mb * 1_000_000
    assert int(soft["Max cpu time"]) < 60
    assert int(soft["Max open files"]) <= 64


def test_the_process_learns_no_secret(sounds, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:secret")
    with DecoderBox(SHORT) as box:
        decode(box.open, sounds.write("a.wav", sounds.noise(0)))
        environment = Path(f"/proc/{box.pid}/environ").read_bytes()
    assert b"OPENBLAS_NUM_THREADS=1" in environment
    assert b"secret" not in environment


def test_a_confined_process_can_write_no_file_and_start_no_process(tmp_path):
    tmp_path.chmod(0o777)
    program = (
        "import os, sys, json\n"
        "from musichash_core.decode.box.confinement import confine\n"
        "from musichash_core.decode import DecodeConfig\n"
        "confine(DecodeConfig())\n"
        "found = []\n"
        "def attempt(work):\n"
        "    try: work()\n"
        "    except OSError as error: found.append(type(error).__name__)\n"
        "    else: found.append('done')\n"
        "attempt(lambda: os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b'x'))\n"
        "attempt(os.fork)\n"
        "print(json.dumps(found))\n"
    )
    parent = tmp_path.parent
    with contextlib.suppress(PermissionError):
        parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "written")],
        capture_output=True,
        text=True,
        check=True,
    )
    written, forked = json.loads(done.stdout)
    assert written in {"OSError", "PermissionError"}
    assert forked == "BlockingIOError"
    assert not (tmp_path / "written").exists() or (tmp_path / "written").stat().st_size == 0


CONNECT = (
    "import socket, sys\n"
    "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=5); print('open')\n"
    "except OSError: print('closed')\n"
)


@pytest.mark.parametrize("sandbox", ["off", "unshare", "bwrap"])
def test_a_sandbox_has_no_network_and_decodes_the_same(sounds, sandbox):
    try:
        command = sandbox_command(sandbox)
    except ConfigError as error:
        pytest.skip(str(error))
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"this machine does not let {sandbox} make namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        connected = subprocess.run(
            [*command, sys.executable, "-c", CONNECT, port],
            capture_output=True,
            text=True,
            check=True,
        )
    assert connected.stdout.strip() == ("open" if sandbox == "off" else "closed")
    path = sounds.write("a.wav", sounds.noise(0), subtype="FLOAT")
    with DecoderBox(SHORT.model_copy(update={"sandbox": sandbox})) as box:
        assert np.array_equal(decode(box.open, path)[0], sounds.noise(0))
        pid = box.pid
        os.killpg(pid, signal.SIGSEGV)
        assert is_gone(pid)
        decode(box.open, path)


# --- a process that cannot be started ------------------------------------------------------------


def test_a_sandbox_that_is_not_installed_is_named(sounds, monkeypatch):
    monkeypatch.setenv("PATH", str(sounds.folder))
    path = sounds.write("a.wav", sounds.noise(0))
    before = open_descriptors()
    with (
        DecoderBox(DecodeConfig(sandbox="bwrap")) as box,
        pytest.raises(ConfigError, match="install the package bubblewrap"),
    ):
        decode(box.open, path)
    assert set(open_descriptors()) <= set(before)


def test_a_sandbox_that_fails_is_no_fault_of_the_file(sounds, monkeypatch):
    program = sounds.folder / "bwrap"
    program.write_text("#!/bin/sh\necho 'no permission to create a namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(sounds.folder))
    path = sounds.write("a.wav", sounds.noise(0))
    before = open_descriptors()
    with (
        DecoderBox(DecodeConfig(sandbox="bwrap")) as box,
        pytest.raises(BoxStartError, match="no permission to create a namespace"),
    ):
        decode(box.open, path)
    assert set(open_descriptors()) <= set(before)


# --- what the two say to one another -------------------------------------------------------------


def test_answers_come_back_as_they_were_said():
    end = End(
        n_frames=7, warnings=("a",), tags=AudioTags(title="Ü", year=1999), cpu_s=0.5,
        peak_memory_bytes=9,
    )  # fmt: skip
    assert parse_answer(end.encoded()) == end


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "blocks", "lengths": [BLOCK_FRAMES + 1]},
        {"kind": "blocks", "lengths": [0]},
        {"kind": "blocks", "lengths": [-1]},
        {"kind": "blocks", "lengths": [1.5]},
        {"kind": "blocks", "lengths": []},
        {"kind": "blocks", "lengths": [1] * (N_BLOCKS + 1)},
        {"kind": "blocks", "lengths": [1], "more": 1},
        {"kind": "execute", "code": "print()"},
        {"lengths": [1]},
        [],
        None,
    ],
)
def test_answers_that_make_no_sense_are_refused(answer):
    with pytest.raises(ValueError, match="validation error"):
        parse_answer(json.dumps(answer).encode())


@given(st.binary(max_size=60))
def test_noise_is_no_answer(packet):
    with pytest.raises(ValueError, match="validation error"):
        parse_answer(packet)


def test_shared_memory_cannot_be_taken_away():
    descriptor = SharedBlocks.allocate()
    try:
        ours, theirs = SharedBlocks(descriptor), SharedBlocks(descriptor)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        theirs.put(1, np.arange(3, dtype=np.float32))
        taken = ours.take(1, 3)
        theirs.put(1, np.zeros(3, np.float32))
        assert taken.tolist() == [0, 1, 2]
    finally:
        os.close(descriptor)
