"""Which of the recorded answers a request gets, and how it is given again."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import anyio

from ramure.testing._http import Reply
from ramure.testing._meaning import Meaning, closest, difference
from ramure.testing._player import Dropped
from ramure.testing._tape import Answer, Interaction

Part = Literal["model", "system", "tools", "messages"]

MODE = "RAMURE_CASSETTES"
"""The variable that says how cassettes are used that do not say it themselves."""

_UNJUDGED: Mapping[str, Any] = {"model": "", "system": "", "tools": (), "messages": ()}
_EVENT = re.compile(r".+?(?:\r?\n){2,}|.+\Z", re.DOTALL)


class CassetteError(Exception):
    """A cassette cannot be used, or nothing can be recorded; the message says what to do."""


class NoMatch(CassetteError, AssertionError):
    """A program asked for something that is not on the cassette. The message shows what differs."""


class UnusedInteractions(UserWarning):
    """A program asked for less than what is on the cassette."""


class Playback:
    """Gives each request the first answer to one like it that was not given yet.

    A request holds its whole conversation, so that conversations are kept apart and in order by
    what is said in them, however they are interleaved.
    """

    def __init__(self, interactions: Sequence[Interaction], match: Collection[str]) -> None:
        self._interactions = interactions
        self._unjudged = {part: void for part, void in _UNJUDGED.items() if part not in match}
        self._used: set[int] = set()

    @property
    def unused(self) -> list[int]:
        """The numbers of those that were not given yet."""
        return [it.number for it in self._interactions if it.number not in self._used]

    @property
    def missed(self) -> list[int]:
        """Those of the unused that somebody should have asked for.

        Where an agent's last call ends its program, chance decides whether it still asks what to
        say of the result.
        """
        unused = set(self.unused)
        return [
            it.number
            for it in self._interactions
            if it.number in unused and not self._is_an_afterthought(it)
        ]

    def _is_an_afterthought(self, last: Interaction) -> bool:
        messages = last.meaning.messages
        before = [
            it.meaning.messages
            for it in self._interactions
            if it.number in self._used and _goes_on(messages, it.meaning.messages)
        ]
        further = messages[max(map(len, before), default=0) :]
        asked = any(message.startswith("user:") for message in further)
        return bool(before) and not asked and not self._followed(messages)

    def is_beyond(self, meaning: Meaning) -> bool:
        """Whether a request goes on with a conversation where the recording ends.

        There the program had what it wanted, and ended before there was an answer.
        """
        asked = self._judged(meaning).messages
        return any(
            it.number in self._used
            and _goes_on(asked, it.meaning.messages)
            and not self._followed(it.meaning.messages)
            for it in self._interactions
        )

    def _followed(self, messages: tuple[str, ...]) -> bool:
        return any(_goes_on(it.meaning.messages, messages) for it in self._interactions)

    def take(self, meaning: Meaning) -> Answer:
        """The answer to a request.

        Raises:
            NoMatch: there is none; the message says what differs.
        """
        wanted = self._judged(meaning)
        same = [it for it in self._interactions if self._judged(it.meaning) == wanted]
        for interaction in same:
            if interaction.number not in self._used:
                self._used.add(interaction.number)
                return interaction.answer
        raise NoMatch(
            f"{self._why(wanted, same)}\nRecord it again with {MODE}=record if this is what the "
            "program should ask."
        )

    def _judged(self, meaning: Meaning) -> Meaning:
        """Of a meaning, what decides."""
        return replace(meaning, **self._unjudged)

    def _why(self, wanted: Meaning, same: Sequence[Interaction]) -> str:
        if same:
            numbers = ", ".join(str(it.number) for it in same)
            return f"it asks again what it has asked before (interaction {numbers})"
        free = [it for it in self._interactions if it.number not in self._used]
        if not free:
            return "every interaction has been used"
        meanings = [self._judged(it.meaning) for it in free]
        nearest = closest(wanted, meanings)
        what = difference(meanings[nearest], wanted)
        return f"interaction {free[nearest].number} is most like it, but differs\n{what}"


def _goes_on(messages: tuple[str, ...], before: tuple[str, ...]) -> bool:
    """Whether they are those before and some more."""
    return len(messages) > len(before) and messages[: len(before)] == before


async def play(answer: Answer, places: Mapping[str, str], reply: Reply) -> None:
    """Answer as it was answered once, with the folders of today.

    Raises:
        Dropped: the connection broke here.
    """
    body = answer.body
    for name, path in places.items():
        body = body.replace(name, path)
    if not answer.status:
        await _break_off(answer)
    if not answer.streamed:
        await reply.whole(answer.status, body.encode(), further_headers(answer))
        return
    for event in _EVENT.findall(body):
        await reply.event(event.encode())
    if answer.ending != "complete":
        await _break_off(answer)
    await reply.end()


async def _break_off(answer: Answer) -> None:
    """The model's side broke it off, or the agent left, which it will again."""
    if answer.ending == "left":
        await anyio.sleep_forever()
    raise Dropped


def further_headers(answer: Answer) -> dict[str, str]:
    """Those that a reply does not send by itself."""
    return {name: text for name, text in answer.headers.items() if name != "content-type"}
