"""A sandbox as a plain machine: commands, their streams, and whether it is still there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from ramure._exec import check_command
from ramure._files import absolute
from ramure._work import to_end
from ramure.backends._marks import MARKS, new_mark
from ramure.errors import MachineError, MachineGone, UsageError
from ramure.machine import Command, LocalPath, Machine
from ramure.values import MachineRef, PtySize
from ramure_modal import errors, files
from ramure_modal.image import ModalImage
from ramure_modal.process import SandboxProcess, shell_words
from ramure_modal.scripts import script
from ramure_modal.sdk import call

if TYPE_CHECKING:
    import modal

TOOLS = "/opt/ramure/tools"
LONGEST_COMMAND = 60_000
"""Bytes of a command with its arguments: Modal takes 64 KiB, our own words included."""

COMMANDS = 24
"""How many commands run at a time without a relay; further ones wait for their turn.

Each holds three streams of the one HTTP/2 connection (its output, its errors, its end), which may
have no more than 100 (RFC 9113, 6.5.2, advises servers to allow at least that many). Were all of
them held by commands that wait for their input, there would be none left to bring it.
"""

SAYING = 30.0
"""Seconds in which a small script of ours has to end there."""

SNAPSHOT = 600
"""Seconds that a snapshot may take: large files need their time."""

REMOVAL = 60.0
EXPIRED = 124
"""What the SDK calls the exit code of a sandbox that reached its timeout."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sandbox is like: its folders, and programs that are there.

    ``memory``: where files are kept in memory, and so in no snapshot; "" where they are nowhere.
    """

    workdir: str
    state: str
    shell: str = "sh"
    node: str = ""
    memory: str = ""

    @classmethod
    def read(cls, said: str) -> Facts:
        """Read what ``prepare.sh`` says."""
        found = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
        return cls(
            found["workdir"],
            found["state"],
            "bash" if "bash" in found else "sh",
            found.get("node", ""),
            found.get("memory", ""),
        )


class SandboxMachine(Machine):
    """A Modal sandbox, without a relay."""

    transports = ()
    tools_dir = TOOLS
    lease_file = ""
    """Where its watchdog looks for signs of life, and beside which for what is due."""

    def __init__(
        self, sandbox: modal.Sandbox, ref: MachineRef, image: ModalImage, facts: Facts
    ) -> None:
        self.sandbox = sandbox
        self.image = image
        self.facts = facts
        self.name, self.ref = ref.name, ref
        self.workdir, self.state_dir = facts.workdir, facts.state
        self.processes: set[SandboxProcess] = set()
        self.places = anyio.CapacityLimiter(COMMANDS)
        self.unkilled: set[str] = set()
        """Marks of what could not be killed, as the sandbox was out of reach."""
        self.last_image: ModalImage | None = None
        self._fate: MachineGone | None = None
        self._asking = anyio.Lock()

    # --- whether it is there

    async def check(self) -> None:
        """Ask Modal whether the sandbox runs. Where it cannot be asked, that is not its end.

        Raises:
            MachineGone: it has ended, or has been destroyed.
        """
        async with self._asking:
            if self._fate is None:
                try:
                    code = await call(self.sandbox.poll.aio)
                except Exception as error:  # noqa: BLE001 an error in asking is no answer
                    self._not_found(error)
                else:
                    if code is not None:
                        self.ended(code)
        self.check_fate()

    def _not_found(self, error: Exception) -> None:
        from modal.exception import NotFoundError

        if isinstance(error, NotFoundError):
            self.ended(None)

    def check_fate(self) -> None:
        """Raises ``MachineGone`` where that is known."""
        if self._fate is not None:
            raise self._fate.with_traceback(None)

    def ended(self, code: int | None) -> None:
        """The sandbox has ended with this code; whoever waits for a command learns it."""
        if self._fate is None:
            self._end(self._expired() if code == EXPIRED else self._gone(code))

    def _expired(self) -> MachineGone:
        return errors.SandboxExpired(
            f"the sandbox reached its timeout of {self.image.timeout} s; ask for more with "
            "ModalImage(timeout=…), 24 h at most, or keep its files with at_limit='snapshot'",
            machine=self.name,
            image=self.last_image,
        )

    def _gone(self, code: int | None) -> MachineGone:
        how = "is not known to Modal any more" if code is None else f"has ended (exit code {code})"
        return MachineGone(f"the sandbox {how}", machine=self.name)

    def _end(self, fate: MachineGone) -> None:
        self._fate = fate
        for process in list(self.processes):
            process.fail(lambda: fate.with_traceback(None))

    def trouble(self, error: Exception) -> MachineError:
        """What an error of the SDK means for a sandbox that is still there."""
        return errors.in_use(error, self.name)

    # --- commands

    async def open_process(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
    ) -> SandboxProcess:
        """See ``Machine.open_process``. Another ``user`` needs root and ``setpriv`` there."""
        return await self.open_due(command, cwd=cwd, env=env, user=user, pty=pty)

    async def open_due(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        pty: PtySize | None = None,
        due: float | None = None,
    ) -> SandboxProcess:
        """See ``KeepsDeadlines``: the watchdog kills what is due."""
        check_command(command, env, cwd)
        self.check_fate()
        size = (str(pty.rows), str(pty.columns)) if pty else ("", "")
        words = shell_words(self.facts.shell, command)
        where = self.workdir if cwd is None else absolute(self, cwd)
        mark = new_mark()
        deadline = self._deadline(mark, due)
        argv = script("start", where, user or "", *size, *deadline, *words)
        if sum(map(len, argv)) > LONGEST_COMMAND:
            raise UsageError("Modal takes commands of 64 KiB at most: use a file or the input")
        variables: dict[str, str | None] = {**(env or {}), MARKS: mark}
        if pty:
            variables.setdefault("TERM", "xterm-256color")
        made: list[SandboxProcess] = []
        await self.places.acquire_on_behalf_of(mark)

        async def start() -> None:
            run = partial(self.sandbox.exec.aio, env=variables, text=False, pty=bool(pty))
            pipes: Any = await call(run, *argv)
            made.append(SandboxProcess(self, pipes, mark, pty=bool(pty)))

        try:
            await to_end(start, SAYING)  # what has been started must be known
            if made:
                await made[0].begun(words[0])
        except BaseException as error:
            for process in made:
                await process.aclose()
            if not made:
                self.places.release_on_behalf_of(mark)
            if isinstance(error, MachineError | OSError) or not isinstance(error, Exception):
                raise
            await self.check()
            raise self.trouble(error) from error
        if not made:
            self.places.release_on_behalf_of(mark)
            self.unkilled.add(mark)  # the order may have arrived
            raise self.trouble(TimeoutError(f"no command could be started within {SAYING:g} s"))
        return made[0]

    def _deadline(self, mark: str, due: float | None) -> tuple[str, str]:
        if due is None or not self.lease_file:
            return "", ""
        # The watchdog may look for the first time at once.
        return f"{self.lease_file}.due/{mark}", str(math.ceil(due) + 1)

    async def run(self, *words: str) -> str:
        """Run a small command of our own and give what it says.

        Raises:
            MachineError: the sandbox is gone, or it could not be run.
        """
        self.check_fate()
        try:
            with anyio.fail_after(SAYING):
                return await say(self.sandbox, *words)
        except Exception as error:
            await self.check()
            raise self.trouble(error) from error

    # --- files

    async def upload(self, local: LocalPath, remote: str) -> None:
        """See ``Machine.upload``."""
        if not await files.upload(self, local, remote):
            await super().upload(local, remote)

    async def download(self, remote: str, local: LocalPath) -> None:
        """See ``Machine.download``."""
        if not await files.download(self, remote, local):
            await super().download(remote, local)

    # --- snapshots and its end

    async def snapshot(self) -> ModalImage:
        """See ``ModalMachine.snapshot``."""
        if not self.facts.memory:
            raise MachineError(
                "its snapshots would hold keys: there is no memory for the state folder",
                machine=self.name,
            )
        from modal.exception import TimeoutError as TookTooLong

        try:
            image = await call(self.sandbox.snapshot_filesystem.aio, timeout=SNAPSHOT)
        except Exception as error:
            await self.check()
            if isinstance(error, TookTooLong):
                text = f"Modal took no snapshot within {SNAPSHOT} s"
                raise MachineError(text, machine=self.name) from error
            raise self.trouble(error) from error
        return replace(
            self.image, source=image.object_id, workdir=self.workdir, registry_secret=None
        )

    async def destroy(self) -> None:
        """See ``Machine.destroy``."""
        self._end(MachineGone("it has been destroyed", machine=self.name))
        await to_end(partial(terminate, self.sandbox, self.name), REMOVAL)


async def say(sandbox: modal.Sandbox, *words: str) -> str:
    """What a command says; raises what the SDK raises, and ``RuntimeError`` where it fails."""
    process: Any = await call(sandbox.exec.aio, *words, text=False)
    said: bytes = await call(process.stdout.read.aio)
    code = await call(process.wait.aio)
    if code:
        raise RuntimeError(f"`{words[0]}` ended with exit code {code}")
    return said.decode("utf-8", "replace")


async def terminate(sandbox: modal.Sandbox, name: str) -> None:
    """End a sandbox; nothing happens where it has ended.

    Raises:
        LinkBroken: Modal could not be told.
    """
    from modal.exception import NotFoundError

    try:
        await call(sandbox.terminate.aio)
    except NotFoundError:
        return
    except Exception as error:
        raise errors.in_use(error, name) from error
