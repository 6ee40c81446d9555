"""Tools: Python functions that agents call.

tool.py        Tool and Outcome: one tool, and what a call of it gave
signature.py   what a function takes, read from its signature
arguments.py   the arguments of a call, checked, with words a model can act on
schema.py      types to JSON Schema and a validator; the only file that imports pydantic
docstrings.py  a docstring to a description, and one for each parameter
result.py      what a function returned or raised, as text for a model
"""

from ramure.tools.arguments import WrongArguments
from ramure.tools.tool import Outcome, Tool

__all__ = ["Outcome", "Tool", "WrongArguments"]
