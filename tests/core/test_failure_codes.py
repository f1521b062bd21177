"""The list of failure codes, and that the operators' page says the same."""

import re
from pathlib import Path

import pytest

from musichash_core.decode import DecodeConfig
from musichash_core.failure_codes import DECODE_WARNINGS, FAILURE_CODES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy" / "FAILURES.md").read_text(encoding="utf-8")
DECODERS = sorted((ROOT / "musichash_core" / "decode").rglob("*.py"))


def test_the_page_lists_every_code_with_its_cause_and_remedy():
    rows = re.findall(r"^\| `([a-z-]+)` \| (yes|no) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (entry.code, "yes" if entry.retryable else "no", entry.cause, entry.remedy)
        for entry in FAILURE_CODES.values()
    ]


def test_the_page_lists_every_warning_with_its_meaning():
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+?) \|$", PAGE, re.MULTILINE)
    assert dict(rows) == DECODE_WARNINGS


@pytest.mark.parametrize("name", DecodeConfig.model_fields)
def test_the_page_names_every_limit(name):
    assert f"`{name}`" in PAGE


def test_every_remedy_names_settings_that_exist():
    text = " ".join(entry.remedy for entry in FAILURE_CODES.values())
    named = re.findall(r"decode\.(\w+)", text)
    assert set(named) >= {"min_duration_s", "max_duration_s", "deadline_s", "memory_mb"}
    assert set(named) <= set(DecodeConfig.model_fields)


def test_the_decoders_use_codes_that_exist():
    used = set()
    for path in DECODERS:
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'DecodeError\(\s*"([a-z-]+)"', text))
    assert used >= {"truncated", "damaged", "unsupported-format", "too-long", "over-limit"}
    assert used <= set(FAILURE_CODES)


@pytest.mark.parametrize("name", DECODE_WARNINGS)
def test_every_warning_is_given_by_some_decoder(name):
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in DECODERS)
