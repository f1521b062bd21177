"""The figures of a snapshot's health as rows of a table: for the terminal, the page and the UI.

Public: `health_rows`, `HealthRow`, `health_markdown`, `escape_markdown`.
"""

import re
from typing import Any, NamedTuple

_MARKS = re.compile(r"([\\`*_{}\[\]<>()#|!~&])")


class HealthRow(NamedTuple):
    """One measure: its name, its value in words, what it would best be, and what it means."""

    measure: str
    value: str
    best: str
    meaning: str


def health_rows(found: dict[str, Any]) -> list[HealthRow]:
    """Give the rows of what `tasks.health_answers.snapshot_health` or `kept_health` told."""
    figures = found["figures"]
    rows = [] if figures["codes"] is None else _code_rows(figures["codes"])
    if figures["drift"] is not None:
        rows += _drift_rows(figures["drift"], found["before"])
    if figures["canaries"] is not None:
        rows += _canary_rows(figures["canaries"])
    return rows


def _code_rows(codes: dict[str, Any]) -> list[HealthRow]:
    first, second = codes["most_correlated_bits"]
    n_codes = codes["n_codes"]
    return [
        HealthRow("codes", f"{n_codes:,}", "", f"of {codes['n_bits']} bits"),
        HealthRow(
            "distinct codes",
            f"{codes['n_distinct']:,}",
            f"{n_codes:,}",
            f"{codes['n_distinct'] / n_codes:.1%} of the tracks could be told apart by them",
        ),
        HealthRow(
            "largest bucket",
            f"{codes['largest_bucket']:,}",
            "1",
            f"tracks that share the most frequent code: {codes['largest_bucket_share']:.2%}",
        ),
        HealthRow(
            "entropy of the codes",
            f"{codes['entropy']:.2f}",
            f"{codes['entropy'] / max(codes['entropy_share'], 1e-9):.2f}",
            f"bits; {codes['entropy_share']:.1%} of what so many codes could have",
        ),
        HealthRow(
            "least even bit",
            f"{codes['worst_bit_mean']:.3f}",
            "0.5",
            f"share of ones of bit {codes['worst_bit']}; {codes['n_constant_bits']} bits never "
            "change",
        ),
        HealthRow(
            "distance from even",
            f"{codes['mean_bias']:.3f}",
            "0",
            f"mean over all bits; each holds {codes['mean_bit_entropy']:.3f} bits of information",
        ),
        HealthRow(
            "largest correlation",
            f"{codes['largest_correlation']:.3f}",
            "0",
            f"of bits {first} and {second}; {codes['mean_correlation']:.3f} on average, in size",
        ),
        HealthRow(
            "bits near to flipping",
            f"{codes['unsure_bit_share']:.1%}",
            "few",
            f"of all bits, in {codes['unsure_code_share']:.1%} of the codes: real value within a "
            "twentieth of the usual size; about 4 % where values are spread normally",
        ),
    ]


def _drift_rows(drift: dict[str, Any], before: dict[str, Any]) -> list[HealthRow]:
    since = f"since snapshot {before['snapshot']}"
    rows = [
        HealthRow(
            "new tracks",
            f"{drift['n_new']:,}",
            "",
            f"{since}; {drift['n_removed']:,} removed, {drift['n_common']:,} in both",
        )
    ]
    if not drift["is_same_model"]:
        meaning = "codes of two models cannot be compared; 'musichash models compare' does more"
        return [*rows, HealthRow("other model", before["generation"], "", meaning)]
    rows += [
        HealthRow(
            "changed codes",
            f"{drift['n_changed']:,}",
            "0",
            f"of tracks in both, by {drift['n_changed_bits']:,} bits together",
        ),
        HealthRow(
            "largest change of a bit",
            f"{drift['largest_bit_change']:+.3f}",
            "0",
            f"of the share of ones of bit {drift['largest_bit_change_bit']}, all tracks; "
            f"{drift['mean_bit_change']:.3f} on average, in size",
        ),
        HealthRow(
            "change of the genres",
            f"{drift['genre_distance']:.3f}",
            "0",
            "Jensen-Shannon distance of their distributions, all tracks, 0 to 1",
        ),
    ]
    return rows if drift["new"] is None else [*rows, *_new_rows(drift["new"])]


def _new_rows(new: dict[str, Any]) -> list[HealthRow]:
    stuck = ", ".join(map(str, new["stuck_bits"])) or "none"
    return [
        HealthRow("stuck bits", stuck, "none", "the same in all new codes, though both are usual"),
        HealthRow(
            "new bits off",
            f"{new['mean_shift']:.3f}",
            "0",
            "share of ones of a bit, new tracks against known ones of their genres, mean; at most "
            f"{new['largest_shift']:.3f}, bit {new['largest_shift_bit']}",
        ),
        HealthRow(
            "new tracks with one code",
            f"{new['largest_bucket_share']:.1%}",
            "few",
            "share of the new tracks with their most frequent code",
        ),
        HealthRow(
            "new codes, distance",
            f"{new['code_distance']:.3f}",
            f"{new['code_distance_by_chance']:.3f}",
            "Jensen-Shannon distance from the known ones, four bits at a time; best: by chance",
        ),
        HealthRow(
            "new genres, distance",
            f"{new['genre_distance']:.3f}",
            f"{new['genre_distance_by_chance']:.3f}",
            "Jensen-Shannon distance from those of the known ones; best: by chance",
        ),
    ]


def _canary_rows(canaries: dict[str, Any]) -> list[HealthRow]:
    n_before = canaries["n_answers_before"]
    rows = [
        HealthRow(
            "canaries",
            f"{canaries['n_found_themselves']}",
            f"{canaries['n_asked']}",
            "tracks that were searched for and found themselves at distance 0",
        )
    ]
    if n_before:
        rows.append(
            HealthRow(
                "answers again",
                f"{canaries['n_answers_again']}",
                f"{n_before}",
                f"neighbours of canaries that are still there; {canaries['n_answers_kept']} with "
                "those that only nearer tracks pushed out",
            )
        )
    return rows


def health_markdown(found: dict[str, Any]) -> str:
    """Write what was found as a page for the Prefect UI, alarms first."""
    lines = [f"# Code health: {found['level']}", "", escape_markdown(found["sentence"]), ""]
    for finding in found["findings"]:
        lines += [
            f"- **{finding['level']}, {finding['name']}**: {escape_markdown(finding['what'])}. "
            f"*What to do:* {escape_markdown(finding['remedy'])}."
        ]
    lines += ["", "| measure | value | best | meaning |", "|---|---:|---:|---|"]
    lines += ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in health_rows(found)]
    return "\n".join(lines) + "\n"


def escape_markdown(text: str) -> str:
    """Write text so that Markdown shows it as it stands."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))
