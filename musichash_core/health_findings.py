"""What the figures of a snapshot's codes mean: a sentence for each threshold that is passed.

Public: `find_faults`, `HealthFinding`, `level_of`, `Level`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from musichash_core.health_config import HealthConfig
from musichash_core.health_figures import CodeFigures, DriftFigures, HealthFigures

Level = Literal["ok", "warn", "alarm"]


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One threshold that is passed.

    Attributes
    ----------
    level : "warn" or "alarm"
    name : str
        Of the measure: stable, for programs.
    what : str
        What was found, and what is allowed.
    remedy : str
        What to do next.
    """

    level: Level
    name: str
    what: str
    remedy: str


def find_faults(figures: HealthFigures, config: HealthConfig) -> list[HealthFinding]:
    """List the thresholds that are passed, alarms first."""
    found = [
        *_faults_of_codes(figures.codes, config),
        *_faults_of_drift(figures.drift, config),
        *_faults_of_canaries(figures, config),
    ]
    return sorted(found, key=lambda finding: finding.level != "alarm")


def level_of(findings: list[HealthFinding]) -> Level:
    """Give the gravest level of some findings; "ok" for none."""
    levels = {finding.level for finding in findings}
    return "alarm" if "alarm" in levels else "warn" if levels else "ok"


def _graded(value: float, warn: float, alarm: float) -> Level:
    """Grade a share that should be small."""
    return "alarm" if value > alarm else "warn" if value > warn else "ok"


_OTHER_MODEL = (
    "'musichash models list' shows the models of the store; promote the one before, or train "
    "another with more tracks of each label"
)


def _faults_of_codes(codes: CodeFigures | None, config: HealthConfig) -> Iterator[HealthFinding]:
    if codes is None or codes.n_codes < config.min_tracks:
        return
    share = max(codes.worst_bit_mean, 1.0 - codes.worst_bit_mean)
    level = _graded(share, config.bit_share_warn, config.bit_share_alarm)
    if level != "ok":
        stuck = f"; {codes.n_constant_bits} bits never change" if codes.n_constant_bits else ""
        yield HealthFinding(
            level,
            "bit-balance",
            f"bit {codes.worst_bit} is {round(codes.worst_bit_mean)} in {_percent(share)} of the "
            f"codes, at most {_percent(config.bit_share_warn)} are fit{stuck}",
            "such a bit tells tracks apart no longer: the model does not suit this music, or is "
            f"broken; {_OTHER_MODEL}",
        )
    size = abs(codes.largest_correlation)
    level = _graded(size, config.correlation_warn, config.correlation_alarm)
    if level != "ok":
        first, second = codes.most_correlated_bits
        yield HealthFinding(
            level,
            "bit-correlation",
            f"bits {first} and {second} are correlated by {codes.largest_correlation:.3f}, at most "
            f"{config.correlation_warn:g} is fit",
            f"two such bits tell little more than one; {_OTHER_MODEL}",
        )
    level = _graded(-codes.entropy_share, -config.entropy_warn, -config.entropy_alarm)
    if level != "ok":
        yield HealthFinding(
            level,
            "entropy",
            f"the codes have {codes.entropy:.1f} bits of entropy, {_percent(codes.entropy_share)} "
            f"of what {codes.n_codes:,} codes could have; at least {_percent(config.entropy_warn)} "
            "are fit",
            "many tracks share few codes, and a search cannot order them: a model trained on few "
            f"labels does that; {_OTHER_MODEL}",
        )
    level = _graded(codes.largest_bucket_share, config.bucket_warn, config.bucket_alarm)
    if level != "ok":
        yield HealthFinding(
            level,
            "largest-bucket",
            f"{codes.largest_bucket:,} tracks ({_percent(codes.largest_bucket_share)}) have one "
            f"code, at most {_percent(config.bucket_warn)} are fit",
            "listen to some of them ('musichash health' names them): copies and silent files are "
            f"harmless, different music with one code is not; {_OTHER_MODEL}",
        )


_LISTEN = (
    "listen to some of the new tracks and look at their spectrograms in the report: a new "
    "collection of one kind is harmless, a decoder that gives silence or noise is not"
)


def _faults_of_drift(drift: DriftFigures | None, config: HealthConfig) -> Iterator[HealthFinding]:
    if drift is None or not drift.is_same_model:
        return
    if drift.n_changed > config.max_changed_share * drift.n_common:
        yield HealthFinding(
            "alarm",
            "changed-codes",
            f"{drift.n_changed:,} of {drift.n_common:,} tracks that were there before have other "
            f"codes, by {drift.n_changed_bits / drift.n_changed:.1f} bits each, though files and "
            "model are the same",
            "'musichash verify' and 'musichash reconcile' find damage; else another version of a "
            "library or other hardware computed them: pin both (deploy/constraints.txt)",
        )
    new = drift.new
    if new is None or drift.n_new < config.min_tracks or drift.n_common < config.min_tracks:
        return
    if new.stuck_bits:
        shown = ", ".join(map(str, new.stuck_bits[:8])) + (" ..." if new.stuck_bits[8:] else "")
        # Where the other bits are off as well, the tracks are of a kind that is new here.
        is_lone_fault = new.mean_shift_of_others <= config.new_shift_warn / 2.0
        yield HealthFinding(
            "alarm" if is_lone_fault else "warn",
            "stuck-bits",
            f"{len(new.stuck_bits)} bit(s) are the same in all {drift.n_new:,} new codes, though "
            f"both values are usual in tracks of these genres: {shown}",
            f"something on the way from file to code is broken for the new tracks; {_LISTEN}",
        )
    level = _graded(new.mean_shift, config.new_shift_warn, config.new_shift_alarm)
    if level != "ok":
        yield HealthFinding(
            level,
            "new-codes",
            f"the bits of the {drift.n_new:,} new codes are on average {_percent(new.mean_shift)} "
            f"from what tracks of their genres have, at most {_percent(config.new_shift_warn)} "
            "are usual",
            _LISTEN,
        )
    level = _graded(new.largest_bucket_share, config.new_bucket_warn, config.new_bucket_alarm)
    if level != "ok":
        yield HealthFinding(
            level,
            "new-bucket",
            f"{_percent(new.largest_bucket_share)} of the {drift.n_new:,} new tracks have one and "
            f"the same code, at most {_percent(config.new_bucket_warn)} are usual",
            _LISTEN,
        )
    excess = max(0.0, new.genre_distance**2 - new.genre_distance_by_chance**2) ** 0.5
    if excess > config.genre_distance_warn:
        yield HealthFinding(
            "warn",
            "new-genres",
            f"the genres of the new tracks are {new.genre_distance:.2f} from those of the known "
            f"ones (Jensen-Shannon, 0 to 1), at most {config.genre_distance_warn:g} is usual",
            _LISTEN,
        )


def _faults_of_canaries(figures: HealthFigures, config: HealthConfig) -> Iterator[HealthFinding]:
    canaries = figures.canaries
    if canaries is None:
        return
    n_lost = canaries.n_asked - canaries.n_found_themselves
    if n_lost:
        yield HealthFinding(
            "alarm",
            "lost-canaries",
            f"{n_lost} of {canaries.n_asked} tracks that were searched for do not find themselves",
            "the index does not hold the codes of its table: 'musichash verify' names the file, "
            "'musichash reindex' builds the index anew",
        )
    is_same_model = figures.drift is not None and figures.drift.is_same_model
    n_before, n_kept = canaries.n_answers_before, canaries.n_answers_kept
    if is_same_model and n_kept < config.min_kept_answers * n_before:
        yield HealthFinding(
            "warn",
            "lost-answers",
            f"{n_before - n_kept} of {n_before} neighbours that canaries had are neither found now "
            "nor outdone by nearer ones",
            "the index answers worse than the last: its info file tells its distance-recall; "
            "'musichash reindex' with a larger --max-latency, or --kind flat, answers exactly",
        )


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"
