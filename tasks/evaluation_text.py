"""What an evaluation found, in lines for a terminal.

Public: `describe_evaluation`.
"""

from typing import Any

from tasks.evaluation_studies import STUDIES


def describe_evaluation(told: dict[str, Any]) -> list[str]:
    """Say in lines what an evaluation found, for a terminal."""
    about = told["about"]
    split = about["split"]
    sides = ", ".join(
        f"{split[key]} {key[2:-7]}" for key in sorted(split) if key.endswith("_tracks")
    )
    n_groups = about["n_shared_groups"] or "no"
    n_pairs = about["n_shared_audio_pairs"] or "no"
    lines = [
        f"{about['n_tracks']} tracks of {len(about['genres'])} genres: {sides}; "
        f"{n_groups} group(s) and {n_pairs} pair(s) of the same audio on two sides; "
        f"{about['n_units_to_do']} of {about['n_units']} rows were to do"
    ]
    if about["left_out_genres"]:
        lines.append(f"  too small to learn: {', '.join(about['left_out_genres'])}")
    lines += [f"  left out: {reason}" for reason in about["absent"]]
    if "files" not in told:
        return lines
    for row in told["recognition"]:
        lines.append(
            f"  {row['name']:<38} accuracy {_spread(row['accuracy'])}, macro F1 "
            f"{_spread(row['macro_f1'])} (chance {row['chance']['mean']:.3f})"
        )
    lines += _study_lines(told)
    lines += _retrieval_lines(told)
    return [*lines, f"tables and page: {told['files']['page']}"]


def _study_lines(told: dict[str, Any]) -> list[str]:
    """One line per row of a study: how it differs from the reference."""
    plan = STUDIES.get(told["about"]["study"])
    if plan is None:
        return []
    names = {row["method"]: row["name"] for row in told["recognition"]}
    reference = plan.references[0]
    lines = [f"accuracy, difference from {names[reference]} and 95 % of the draws of groups:"]
    lines += [
        f"  {names[row['method']]:<38} {row['difference']:+.3f} "
        f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        for row in told["comparisons"]
        if row["against"] == reference
    ]
    return lines


def _retrieval_lines(told: dict[str, Any]) -> list[str]:
    """One line per database and method, mAP at every length."""
    lines = []
    for database in told["about"]["databases"]:
        rows = [row for row in told["retrieval"] if row["database"] == database]
        if rows:
            lines.append(f"mAP, database {database}, chance {rows[0]['chance']['mean']:.3f}:")
        for name in dict.fromkeys(row["name"] for row in rows):
            cells = [
                f"{row['n_bits'] or 'real'}: {_spread(row['map'])}"
                for row in rows
                if row["name"] == name
            ]
            lines.append(f"  {name:<26} {'  '.join(cells)}")
    return lines


def _spread(value: dict[str, float | None]) -> str:
    """Write mean and deviation."""
    text = f"{value['mean']:.3f}"
    return text if value["deviation"] is None else f"{text} ± {value['deviation']:.3f}"
