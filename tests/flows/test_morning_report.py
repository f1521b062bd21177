"""The pages that runs leave in the UI: what they say, and that names from files are no markup."""

import pytest

from flows.morning_report import headline, morning_report, unfinished_report
from flows.run_words import account_sentence

RECORD = {
    **{"run_id": "20261122T020000Z-000007", "seen": 1_063, "done": 62, "reused": 1_000},
    **{"failed": 1, "quarantined": 0, "removed": 0, "snapshot": 4},
    **{"audio_s": 1_800.0, "cpu_s": 23.4, "peak_memory_bytes": 402_000_000},
    "stages": {},
}
ACCOUNT = {"run": RECORD, "snapshot": 4, "is_new_snapshot": True}
EVIL = "rock/](javascript:alert(1)) <img src=x onerror=alert(1)> | `x` *b*\n# h\u202e.mp3"


def failure(code="truncated", path="rock/a.mp3", remedy="Fetch the file again."):
    return {"code": code, "path": path, "remedy": remedy}


def page(failures=(), health=None):
    return morning_report(ACCOUNT, failures, health=health, report="REPORT.", store="/s/music")


def test_a_headline_counts_what_there_is_to_count():
    assert headline(RECORD) == "62 processed, 1,000 reused, 1 failed of 1,063 tracks"
    quiet = RECORD | {"done": 0, "failed": 0, "seen": 1_000}
    assert headline(quiet) == "nothing to decode, 1,000 reused of 1,000 tracks"


def test_the_identity_adds_up_to_what_was_seen():
    assert account_sentence(RECORD) == (
        "1063 seen = 62 done + 1000 reused + 1 failed + 0 quarantined + 0 removed"
    )


def test_a_morning_report_has_account_report_and_cost():
    text = page()
    assert "Snapshot 4 is published. REPORT." in text
    assert "30 min of audio decoded, 23 s of CPU time, at most 402 MB of memory" in text
    assert text.endswith("No failures.")


def test_the_commonest_reasons_come_first_each_with_a_track_and_a_remedy():
    rows = [failure(path=f"rock/{number}.mp3") for number in range(3)]
    rows.append(failure("silent", "rock/z.mp3", "Nothing: the track is silent."))
    lines = page(rows).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert table[1:] == [
        "| truncated | 3 | rock/0.mp3 | Fetch the file again. |",
        "| silent | 1 | rock/z.mp3 | Nothing: the track is silent. |",
    ]
    assert lines[-3:] == ["```", "musichash failures --store /s/music", "```"]


def test_no_more_than_ten_reasons_are_listed():
    rows = [failure(f"reason-{number}") for number in range(13)]
    assert "| 3 more reasons | | | |" in page(rows)
    assert page(rows).count("Fetch the file again.") == 10


@pytest.mark.parametrize("where", ["failure", "message", "name", "store"])
def test_a_name_from_a_file_is_no_markup(where):
    if where == "failure":
        text = page([failure(path=EVIL)])
    elif where == "store":
        text = morning_report(ACCOUNT, [failure()], health=None, report="", store="/s/```\n# h")
        assert "# h" not in text.splitlines()
        assert text.splitlines()[-1] == "````"
        return
    else:
        given = {"name": "nightly x", "message": "it broke"} | {where: EVIL}
        text = unfinished_report(
            given["name"],
            state="Failed",
            message=given["message"],
            record=None,
            progress=(),
            command=["run"],
        )
    assert "](" not in text.replace("\\](", "").replace("]\\(", "")
    assert "\\<img" in text
    assert "<img" not in text.replace("\\<", "")
    assert "\\`x\\`" in text
    assert "# h" not in text.splitlines()
    assert "\u202e" not in text


def test_a_health_finding_stands_before_the_failures():
    finding = {"level": "alarm", "what": "all codes are equal", "remedy": "Train again"}
    text = page([failure()], health={"findings": [finding]})
    assert text.index("**alarm: all codes are equal.** Train again.") < text.index("truncated")


def test_an_unfinished_run_says_what_was_done_and_the_command_that_goes_on():
    numbers = {"n_done": 1_200, "n_reused": 30, "n_failed": 2, "wall_s": 75.0}
    text = unfinished_report(
        "nightly music 2026-11-22",
        state="Crashed",
        message="Process for flow run exited with status code -9",
        record=RECORD | {"snapshot": None, "stages": {"extract": numbers, "plan": numbers}},
        progress=(),
        command=["run", "--catalogue", "/my music", "--store", "/s"],
    )
    assert text.startswith("# nightly music 2026-11-22: crashed\n")
    assert "status code -9" in text
    stages = [line for line in text.splitlines() if line.endswith("| 1,200 | 30 | 2 | 75 s |")]
    assert [line.split()[1] for line in stages] == ["plan", "extract"]
    assert "The next run completes the work" in text
    assert text.splitlines()[-2] == "musichash run --catalogue '/my music' --store /s"


def test_a_run_that_never_wrote_says_so_and_a_published_snapshot_is_named():
    def said(record):
        return unfinished_report(
            "n", state="Failed", message="", record=record, progress=["a: half"], command=["run"]
        )

    assert "It had not begun to write to the store." in said(None)
    assert "No reason is known." in said(None)
    assert "- a: half" in said(None)
    assert "It had published snapshot 4." in said(RECORD)
    assert "No stage was finished." in said(RECORD)
