"""What a person is asked while logging in: only when it is needed, and once."""

from __future__ import annotations

import inspect
import os

from ramure_ssh.image import Secret

PASSWORD, PASSPHRASE = "RAMURE_SSH_PASSWORD", "RAMURE_SSH_PASSPHRASE"


class Answers:
    """The answers for one connection, kept for as long as it lives."""

    def __init__(self, password: Secret | None = None, passphrase: Secret | None = None) -> None:
        """Ask these; None: the environment's ``RAMURE_SSH_PASSWORD``, ``RAMURE_SSH_PASSPHRASE``."""
        self._sources = {PASSWORD: password, PASSPHRASE: passphrase}
        self._given: dict[str, str | None] = {}

    async def password(self) -> str | None:
        """The account's password; None where there is none."""
        return await self._ask(PASSWORD)

    async def passphrase(self) -> str | None:
        """What opens locked keys; None where there is none."""
        return await self._ask(PASSPHRASE)

    @property
    def may_unlock(self) -> bool:
        """There may be a passphrase that nobody has been asked for yet."""
        asked = PASSPHRASE in self._given
        return not asked and (self._sources[PASSPHRASE] is not None or PASSPHRASE in os.environ)

    def given(self) -> Answers:
        """Those that have been given so far; nobody is asked again."""
        given = dict(self._given)
        return Answers(lambda: given.get(PASSWORD), lambda: given.get(PASSPHRASE))

    async def _ask(self, variable: str) -> str | None:
        if variable not in self._given:
            source = self._sources[variable]
            answer = os.environ.get(variable) if source is None else source()
            self._given[variable] = await answer if inspect.isawaitable(answer) else answer
        return self._given[variable]
