"""What the tools of these tests take, one type of each kind; and a tool."""

import dataclasses
import enum

import pydantic
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(pydantic.BaseModel):
    name: str
    price: float = 0.0
    parts: list["Item"] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    depth: int


async def finish(summary: str, count: int = 3):
    """Call with your result."""
    return f"{summary} {count}"
