"""Descriptions from docstrings, in the styles that people write."""

from typing import Annotated

from hypothesis import given
from hypothesis import strategies as st

from ramure.tools import Tool, docstrings

GOOGLE = """Search the web.

    Give few words.

    Args:
        query (str): what to look for,
            in plain words: not a URL
        limit (dict[str, tuple(int, ...)], optional): how many

        **rest: more

    Returns:
        What was found.
    """
NUMPY = """Search the web.

    Give few words.

    Parameters
    ----------
    query : str
        what to look for,
        in plain words: not a URL
    limit, rest : int, optional
        how many

    Returns
    -------
    str
    """
SPHINX = """Search the web.

    :param query: what to look for,
        in plain words: not a URL
    :type query: str
    :param int limit: how many
    :returns: what was found
    """


def test_google_docstring():
    description, said = docstrings.read(GOOGLE)
    assert description == "Search the web.\n\nGive few words.\n\nReturns:\n    What was found."
    assert said == {
        "query": "what to look for, in plain words: not a URL",
        "limit": "how many",
        "rest": "more",
    }


def test_numpy_docstring():
    description, said = docstrings.read(NUMPY)
    assert description == "Search the web.\n\nGive few words.\n\nReturns\n-------\nstr"
    assert said == {
        "query": "what to look for, in plain words: not a URL",
        "limit": "how many",
        "rest": "how many",
    }
    assert docstrings.read("A.\n\nParameters\n----------\nx\n    it") == ("A.", {"x": "it"})


def test_sphinx_docstring():
    description, said = docstrings.read(SPHINX)
    assert description == "Search the web.\n\n:returns: what was found"
    assert said == {"query": "what to look for, in plain words: not a URL", "limit": "how many"}


@given(st.text(alphabet="Args:\n prmt-x*()"))
def test_any_docstring_is_read(text):
    docstrings.read(text)


def test_parameters_get_what_the_docstring_says_of_them():
    async def search(query: str, limit: Annotated[int, "nearer"] = 1): ...

    search.__doc__ = GOOGLE
    tool = Tool.of(search)
    fields = tool.parameters["properties"]
    assert fields["query"]["description"] == "what to look for, in plain words: not a URL"
    assert fields["limit"]["description"] == "nearer"
    assert "Args" not in tool.description
