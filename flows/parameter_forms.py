"""The forms in which the Prefect UI asks for the parameters of a deployment.

Prefect makes them from the types of a flow's parameters. This adds what each is for, which stands
in the flow's docstring, a title for settings that have none (they would all be called "Field"),
and that there are no others: a parameter that the flow does not have is refused when a run is asked
for, and does not crash it. Public: `explained_form`, `meanings_of_parameters`.
"""

import copy
import inspect
import re
from typing import Any

_SECTION = re.compile(r"^Parameters\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^(\w[\w, ]*) : [^\n]*\n((?:[ ]+[^\n]*\n?|\n)+)", re.MULTILINE)


def meanings_of_parameters(docstring: str) -> dict[str, str]:
    """Read what each parameter is for out of a docstring of numpydoc's form."""
    section = _SECTION.search(inspect.cleandoc(docstring) + "\n")
    if section is None:
        return {}
    return {
        name.strip(): " ".join(text.split())
        for names, text in _ENTRY.findall(section[1])
        for name in names.split(",")
    }


def explained_form(schema: dict[str, Any], docstring: str) -> dict[str, Any]:
    """Complete the schema of a flow's parameters.

    Parameters
    ----------
    schema : dict
        JSON schema with ``properties`` and ``definitions``; is not changed.
    docstring : str
        Of the flow.
    """
    form = copy.deepcopy(schema)
    meanings = meanings_of_parameters(docstring)
    for name, one in form["properties"].items():
        if name in meanings:
            one.setdefault("description", meanings[name])
    for definition in form.get("definitions", {}).values():
        for name, one in definition.get("properties", {}).items():
            one.setdefault("title", name.replace("_", " ").title())
    form["additionalProperties"] = False
    return form
