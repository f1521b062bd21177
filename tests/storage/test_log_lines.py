"""Lines of the log: fields, bounds, nothing that acts on a terminal, and no secrets."""

import json
import logging
import time

import pytest

from storage.log_lines import LONGEST_MESSAGE, LONGEST_VALUE, JsonLines, TextLines, hide_secrets


def record(message, *arguments, level=logging.INFO, **about):
    made = logging.LogRecord("musichash.x", level, "x.py", 1, message, arguments, None)
    made.created = 1_000_000_000.25
    for name, value in about.items():
        setattr(made, name, value)
    return made


def test_a_json_line_holds_time_level_fields_and_message():
    line = JsonLines().format(
        record("%d of %s", 3, "x", stage="extract", partition="ab", cpu_s=1 / 3, other="unknown")
    )
    assert json.loads(line) == {
        "time": "2001-09-09T01:46:40.250Z",
        "level": "info",
        "logger": "musichash.x",
        "stage": "extract",
        "partition": "ab",
        "cpu_s": 0.333,
        "message": "3 of x",
    }


def test_a_text_line_says_where():
    line = TextLines().format(record("gone", level=logging.WARNING, stage="encode", partition="ab"))
    assert line == "2001-09-09T01:46:40.250Z WARNING encode: gone [partition=ab]"
    assert TextLines(with_time=False).format(record("gone")) == "gone"


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_names_of_files_cannot_act_on_who_reads_the_log(form):
    name = "a\x1b[2J\nb\u202ec\u2028d\x9be\udcffz"
    line = form.format(record("cannot read %s", name, path=name))
    assert line.isprintable()
    line.encode()  # a lone surrogate could not be written


def test_the_escaped_name_is_the_name_for_who_parses_the_line():
    name = "a\x1b[2J\nb\u202ec"
    line = json.loads(JsonLines().format(record("x", path=name)))
    assert line["path"] == name


def test_a_line_is_short_whatever_it_is_about():
    line = json.loads(JsonLines().format(record("m" * 10_000, path="p" * 10_000)))
    assert len(line["message"]) == LONGEST_MESSAGE
    assert len(line["path"]) == LONGEST_VALUE


def test_a_hostile_text_costs_little():
    started = time.process_time()
    line = json.loads(JsonLines().format(record("%s", "://a:" * 400_000)))
    assert line["message"].startswith("://a:")
    assert time.process_time() - started < 5.0  # without a bound: hours


def test_an_error_is_named():
    made = record("cannot go on")
    made.exc_info = (OSError, OSError("no such disk"), None)
    assert json.loads(JsonLines().format(made))["message"] == "cannot go on (OSError: no such disk)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql+asyncpg://prefect:hunter2!@db:5432/x",
            "postgresql+asyncpg://prefect:***@db:5432/x",
        ),
        ("s3://key:pa:ss/w@rd@host/bucket", "s3://key:***@host/bucket"),
        ("GET /x?X-Amz-Signature=0a1b2c&n=1", "GET /x?X-Amz-Signature=***&n=1"),
        ("Authorization: Basic YWRtaW46c2VjcmV0", "Authorization: ***"),
        ('{"secret_access_key": "abc/def+g"}', '{"secret_access_key": "***"}'),
        ("password=x1 and more", "password=*** and more"),
        ("tls://10.0.0.7:8786 has no worker", "tls://10.0.0.7:8786 has no worker"),
        ("Artist/Token Ring/01 password.flac", "Artist/Token Ring/01 password.flac"),
    ],
)
def test_secrets_are_hidden_by_their_form(text, shown):
    assert hide_secrets(text) == shown


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        (
            "AZURE_STORAGE_ACCOUNT_KEY",
            "Eby8vdM02xNOcqFlqUwJPLlm",
            "Eby8vdM02xNOcqFlqUwJPLlm",
        ),
        ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzE", "FwoGZXIvYXdzE"),
        ("PREFECT_API_AUTH_STRING", "musichash:s3cr3t-of-server", "s3cr3t-of-server"),
        ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://u:p/w0rd@h/d", "u:p/w0rd@h/d"),
        ("MUSICHASH_DATABASE_URL", "postgresql://u:other-word@h/d", "other-word@h/d"),
    ],
)
def test_secrets_of_the_environment_never_appear(name, value, secret, monkeypatch):
    monkeypatch.setenv(name, value)
    for form in (JsonLines(), TextLines()):
        line = form.format(record("tried %s and %s", value, secret, path=f"/x/{secret}"))
        assert value not in line
        assert secret not in line
        assert "***" in line


def test_the_path_of_a_secret_is_none(monkeypatch):
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    assert hide_secrets("reads /var/run/token") == "reads /var/run/token"
