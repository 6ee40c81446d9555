"""Plain values that travel between the parts. Frozen, and knowing nothing of what uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command left.

    Attributes:
        command: the command as people would read it.
        exit_code: as a shell reports it; negative N when signal N ended the command. None when
            ``timed_out`` (so that a command that itself exits with 124 is told apart).
        stdout_bytes, stderr_bytes: what was read, at most ``max_output`` bytes each.
        timed_out: the deadline passed and the whole process tree was killed.
        truncated: output beyond ``max_output`` was read and thrown away.
        duration: seconds from start to end.
    """

    command: str
    exit_code: int | None
    stdout_bytes: bytes = b""
    stderr_bytes: bytes = b""
    timed_out: bool = False
    truncated: bool = False
    duration: float = 0.0

    @property
    def stdout(self) -> str:
        """Standard output as text (UTF-8; what is not UTF-8 is shown as U+FFFD)."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text (UTF-8; what is not UTF-8 is shown as U+FFFD)."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """True where the command ended by itself with exit code 0."""
        return self.exit_code == 0


@dataclass(frozen=True, slots=True)
class PtySize:
    """The size of a terminal, in characters."""

    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True)
class MachineRef:
    """Enough for another OS process to attach to a machine or to destroy it. JSON throughout."""

    backend: str
    name: str
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """Where machines are made: ``name[+variant][://location]``, as the person wrote it.

    ``Host("docker", "ssh", "me@box")`` is ``docker+ssh://me@box``.
    """

    backend: str
    variant: str | None = None
    location: str | None = None

    def __str__(self) -> str:
        variant = f"+{self.variant}" if self.variant else ""
        location = f"://{self.location}" if self.location is not None else ""
        return f"{self.backend}{variant}{location}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is missing or wrong, and what cures it.

    Attributes:
        what: in words, for people.
        cure: what they can do.
        unused: only what whoever does not use this lacks (no engine runs, nobody has logged in),
            and not a thing that is set up and broken.
    """

    what: str
    cure: str = ""
    unused: bool = False

    def __str__(self) -> str:
        return f"{self.what} ({self.cure})" if self.cure else self.what


@dataclass(frozen=True, slots=True)
class Ending:
    """How an agent's program ended.

    Attributes:
        reason: in words, for people.
        exit_code: the program's own, where it is known.
        screen: the last screen of its terminal, where there was one.
        expected: True where it ended because ramure told it to.
    """

    reason: str
    exit_code: int | None = None
    screen: str = ""
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model was used for: tokens, and cost in US dollars."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What a harness needs to know to start one agent.

    Attributes:
        run: the execution id.
        address: the agent's address in the run; fit for a file name.
        token: proves the agent to the run. Secret: never in an argument, a log, or a file
            that others can read.
        state_dir: an existing folder on the machine, owner-only, of this agent alone; removed
            by the run after the agent's end. Survives a restart of the agent.
        incarnation: 1 for the first start, one more for each restart.
        cwd: the working directory on the machine; it exists.
        system_prompt: added to what the agent's program says by itself.
        model: as the harness reads it (pi: ``provider/model[:thinking]``); None for its default.
        env: further environment. May hold secrets.
        lease: seconds that the agent goes on once the run is out of reach.
        options: whatever else this harness understands. May hold secrets.
    """

    run: str
    address: str
    token: str = field(repr=False)
    state_dir: str
    cwd: str
    incarnation: int = 1
    system_prompt: str | None = None
    model: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    lease: float = 10.0
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Terminal:
    """How to see an agent's terminal: a command to be run *on its machine* with a pty.

    Leaving it (for tmux: detaching, or hanging up) leaves the agent running.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


Direction = Literal["both", "forward"]
