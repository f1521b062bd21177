"""Text of files: what acts on a terminal is written out, all other writing stays."""

import json

import pytest

from musichash_core.plain_text import (
    escape_controls,
    escape_controls_in_json,
    remove_controls,
    unescape_controls,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 日本 ünï — “x” 🎵", "plain 日本 ünï — “x” 🎵"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\u202egpj.exe\u202c\u2066x\u200f", "\\u202egpj.exe\\u202c\\u2066x\\u200f"),
        ("a\u2028b\u2029\ufeff", "a\\u2028b\\u2029\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("می\u200cخواهم 👩\u200d🎤", "می\u200cخواهم 👩\u200d🎤"),
        ("a\u00a0b", "a\u00a0b"),
    ],
    ids=ascii,
)
def test_characters_that_act_are_shown_as_escapes(text, shown):
    assert escape_controls(text) == shown


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("a\\nb\\r\\tc\\x00", "a\nb\r\tc\0"),
        ("\\u202egpj.exe\\u202c \\U000e0041", "\u202egpj.exe\u202c \U000e0041"),
        ("caf\\xe9 \\x41", "caf\\xe9 \\x41"),  # nothing that acts: never written by us
        ("\\ud800 \\U00110000", "\\ud800 \\U00110000"),  # no characters
        ("back\\slash 100% 🎵", "back\\slash 100% 🎵"),
    ],
    ids=ascii,
)
def test_what_is_shown_leads_back_to_the_text(shown, text):
    assert unescape_controls(shown) == text


def test_escaped_json_is_the_same_document():
    content = {"a\x1b\u202e": ["\x7f\x9b\u2028", "\U000e0041 é 🎵"], "b": None}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    escaped = escape_controls_in_json(text)
    assert json.loads(escaped) == content
    assert escaped.replace("\n", "").isprintable()
    assert "é 🎵" in escaped


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  a  b\t", "a b"),
        ("line\r\nline", "line line"),
        ("a\0\0b\0", "a b"),
        ("\x1b[2Jx", "[2Jx"),
        ("\x85\u2028", ""),
        ("né 🎵", "né 🎵"),
    ],
    ids=ascii,
)
def test_controls_and_runs_of_space_become_one_space(text, kept):
    assert remove_controls(text) == kept
