"""Forms of the UI: parameters have a meaning, settings a title, and there are no others."""

import pytest
from prefect.utilities.callables import parameter_schema

from flows.backfill import backfill
from flows.nightly import nightly
from flows.parameter_forms import explained_form, meanings_of_parameters

DOCSTRING = """Do something.

    Some words about it.

    Parameters
    ----------
    first : list of str
        Folders
        of files.
    second, third : str, optional
        Of both: a
        colon.

    Returns
    -------
    fourth : int
        No parameter.
    """


def test_meanings_are_read_from_the_section_of_parameters():
    assert meanings_of_parameters(DOCSTRING) == {
        "first": "Folders of files.",
        "second": "Of both: a colon.",
        "third": "Of both: a colon.",
    }
    assert meanings_of_parameters("Do nothing.") == {}


@pytest.mark.parametrize("flow", [nightly, backfill], ids=lambda flow: flow.name)
def test_a_form_leaves_nothing_without_a_name_or_a_meaning(flow):
    schema = parameter_schema(flow).model_dump()
    form = explained_form(schema, flow.fn.__doc__)
    assert form["additionalProperties"] is False
    assert all(len(one["description"].split()) > 1 for one in form["properties"].values())
    titles = [
        one["title"]
        for definition in form["definitions"].values()
        for one in definition.get("properties", {}).values()
    ]
    assert {"Tls", "Kubernetes", "Crnn Hash", "N Workers"} <= set(titles)
    assert "additionalProperties" not in schema
    assert "description" not in schema["properties"]["store"]
