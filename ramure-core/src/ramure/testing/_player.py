"""Plays one turn as the answer to one request, in time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from ramure.testing._dialect import Dialect, Spoken
from ramure.testing._http import Reply
from ramure.testing.request import Request
from ramure.testing.script import (
    BrokenJson,
    Delay,
    Drop,
    Fail,
    Hang,
    Part,
    Raw,
    Text,
    Think,
    ToolCall,
)


class Dropped(Exception):
    """The script breaks the connection here."""


async def play(api: type[Dialect], request: Request, turn: Sequence[Part], reply: Reply) -> None:
    """Play a turn.

    Raises:
        Dropped: the connection is to be broken now.
    """
    turn = _with_ids(turn, request.number)
    answer = api(request, turn)
    bare = not answer.spoken and any(isinstance(part, Raw) for part in turn)
    spoken = 0
    for part in turn:
        if isinstance(part, Fail):
            await _fail(answer, part, reply)
            return
        if isinstance(part, Raw):
            await reply.event(part.data)
        elif isinstance(part, Spoken):
            if request.stream:
                await _stream(answer, spoken, part, reply)
            spoken += 1
        else:
            await _pause(part)
    if bare:
        await reply.end()
    elif request.stream:
        await _send(reply, answer.end() if spoken else (*answer.begin(), *answer.end()))
        await reply.end()
    else:
        await reply.whole(200, json_bytes(answer.whole()))


async def _stream(answer: Dialect, index: int, part: Spoken, reply: Reply) -> None:
    if index == 0:
        await _send(reply, answer.begin())
    pause = part.pause if isinstance(part, Text | Think) else 0
    for frame in answer.part(index, part):
        await reply.event(frame)
        if pause:
            await anyio.sleep(pause)


async def _send(reply: Reply, frames: Iterable[bytes]) -> None:
    for frame in frames:
        await reply.event(frame)


async def _fail(answer: Dialect, fail: Fail, reply: Reply) -> None:
    if reply.started:
        await reply.event(answer.failure_frame(fail))
        await reply.end()
        return
    headers = {} if fail.retry_after is None else {"retry-after": f"{fail.retry_after:g}"}
    await reply.whole(fail.status, json_bytes(answer.failure(fail)), headers)


async def _pause(part: Part) -> None:
    """Whatever is not said: a delay, silence, a break. The rest concerns others."""
    if isinstance(part, Delay):
        await anyio.sleep(part.seconds)
    elif isinstance(part, Hang):
        await (anyio.sleep_forever() if part.seconds is None else anyio.sleep(part.seconds))
        raise Dropped
    elif isinstance(part, Drop):
        raise Dropped


def _with_ids(turn: Sequence[Part], number: int) -> list[Part]:
    """The turn, each call with an id that no other call of the server has."""
    named: list[Part] = []
    for index, part in enumerate(turn):
        id_ = f"call_{number}_{index}"
        if isinstance(part, ToolCall) and not part.id:
            named.append(part.with_id(id_))
        elif isinstance(part, BrokenJson) and not part.id:
            named.append(replace(part, id=id_))
        else:
            named.append(part)
    return named


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A body."""
    return json.dumps(value).encode()
