"""Filling a template of this folder: a page that stands by itself.

Public: `fill_template`.
"""

from typing import Any

import jinja2

from tasks import report_text


def fill_template(template: str, context: dict[str, Any]) -> str:
    """Give the HTML of a page; whatever is put in is escaped, because names come from outside.

    Parameters
    ----------
    template : str
        File name below ``tasks/templates``.
    context : dict
        What the template names; a name that is missing is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tasks"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "printable": report_text.printable,
        "bytes": report_text.bytes_text,
        "seconds": report_text.seconds_text,
        "count": report_text.count_text,
        "time": report_text.time_text,
    }
    return environment.get_template(template).render(context)
