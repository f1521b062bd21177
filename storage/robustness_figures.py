"""The last measurement of how codes stand changes of the sound, kept for the report.

Public: `write_robustness`, `read_robustness`, `robustness_path`.
"""

from pathlib import Path
from typing import Any

from storage.atomic import read_json, write_json
from storage.errors import StoreError
from storage.layout import StoreLayout

ROBUSTNESS_FORMAT = 1
FIGURES_NAME = "robustness.json"


def robustness_path(layout: StoreLayout) -> Path:
    """Give the file of the last measurement."""
    return layout.work_root / FIGURES_NAME


def write_robustness(layout: StoreLayout, figures: dict[str, Any]) -> None:
    """Keep a measurement, in place of the last one.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    path = robustness_path(layout)
    try:
        write_json(path, {"format": ROBUSTNESS_FORMAT, **figures})
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def read_robustness(layout: StoreLayout, generation: str) -> dict[str, Any] | None:
    """Read the last measurement; None when there is none of this generation that can be read.

    It can be made again at any time, so nothing fails for want of it.

    Parameters
    ----------
    generation : str
        Of the models whose codes are asked about: figures of others say nothing of them.
    """
    try:
        figures = read_json(robustness_path(layout))
    except StoreError:
        return None
    is_of_use = (figures.get("format"), figures.get("generation")) == (
        ROBUSTNESS_FORMAT,
        generation,
    )
    return figures if is_of_use else None
