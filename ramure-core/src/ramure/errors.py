"""Every error that ramure raises.

    RamureError
    ├── UsageError                  wrong use, found before anything was started
    │   ├── NotInProcess            an ambient function was called outside a live process
    │   ├── PlacementError          ``image=`` and ``host=`` could not be understood
    │   ├── InvalidName             a name that cannot be used, or is taken
    │   ├── InvalidTool             a function that cannot become a tool or an endpoint
    │   └── PluginError             a plugin is missing, broken, or clashes with another
    │       └── NotRegistered       no installed plugin claims the name
    │           └── MissingPlugin   a known one that is not installed (also an ImportError)
    ├── HomeUnusable                ``RAMURE_HOME``, or a run's ``log_dir=``, cannot be used
    ├── ProcessError                a process ended without a result
    │   ├── ProcessFailed           it called ``fail(reason)``
    │   ├── ProcessTimeout          its ``timeout=`` ran out
    │   ├── ProcessCancelled        it was cancelled
    │   └── TooManyRestarts         a supervisor's children failed again and again
    ├── AgentError                  about one agent; carries its last screen where there is one
    │   ├── AgentStartFailed        it never came up
    │   ├── AgentDied               its program, its tmux or its machine went away
    │   ├── AgentIdle               everybody waits for agents that wait for everybody
    │   ├── AgentStalled            its model or a tool was at work for too long
    │   ├── AgentEnded              it was used after its end
    │   ├── NoSuchAgent             the run has no agent of this address
    │   ├── NoTerminal              it has no terminal to be seen
    │   ├── ModelFailed             its model refused or failed for good
    │   └── NoAnswer                ``agent.ask`` got none
    ├── NotConnected                two agents without an edge from one to the other
    ├── EndpointError               no such endpoint, or arguments that do not fit it
    ├── EventTimeout                the awaited event did not come (also a TimeoutError)
    ├── MachineError                about one machine
    │   ├── MachineStartFailed      it could not be made
    │   ├── MachineGone             it is no longer there
    │   ├── LinkBroken              the way to it broke; says whether the outcome is unknown
    │   ├── RelayUnavailable        the relay cannot run on it; the plain way serves
    │   ├── ToolSetUnavailable      what agents need is not on it, and cannot be brought
    │   ├── CommandFailed           ``exec(check=True)`` and the command failed or timed out
    │   └── UnsafePath              a name in an archive or tree that leaves its folder
    └── RunError                    about one run, as the CLI sees it
        ├── NoSuchRun               no live run, or none of this id
        ├── SeveralRuns             the id fits several, or was left out where there are several
        └── RunDied                 it ended without a farewell, or does not answer

A message says what happened, to which agent on which machine, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramure.values import ExecResult


LAST_LINES = 24
"""Of an agent's last screen, so many lines are part of an error's message."""


class RamureError(Exception):
    """The root of all errors that ramure raises."""


class UsageError(RamureError):
    """ramure was used in a way that cannot work; nothing was started."""


class NotInProcess(UsageError):
    """An ambient function (``agent``, ``emit``, …) was called outside a live process."""


class PlacementError(UsageError):
    """``image=`` and ``host=`` do not name a place to work in."""


class InvalidName(UsageError):
    """A name that cannot be used, or that is already taken in this process."""


class InvalidTool(UsageError):
    """A function that cannot become a tool or an endpoint."""


class PluginError(UsageError):
    """A plugin is missing, cannot be loaded, or claims a name that another has."""


class NotRegistered(PluginError):
    """No installed plugin claims the name."""


class MissingPlugin(NotRegistered, ImportError):
    """A plugin that is known but not installed; the message says how to install it."""


class HomeUnusable(RamureError):
    """The folder for ramure's files (``RAMURE_HOME``) or ``log_dir=`` cannot be used."""


class ProcessError(RamureError):
    """A process ended without a result.

    Attributes:
        process: the process's name.
        reason: why, in words.
    """

    def __init__(self, message: str, *, process: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.process = process
        self.reason = reason or message


class ProcessFailed(ProcessError):
    """The process called ``fail(reason)``."""


class ProcessTimeout(ProcessError):
    """The process's ``timeout=`` ran out; everything it owned has been removed."""


class ProcessCancelled(ProcessError):
    """The process was cancelled before it had a result."""


class TooManyRestarts(ProcessError):
    """A supervisor gave up: ``max_restarts`` did not do. Caused by the last failure."""


class AgentError(RamureError):
    """Something happened to one agent.

    Attributes:
        agent: the agent's address.
        machine: the name of its machine.
        reason: what happened, in words.
        screen: the last screen its terminal showed, where there was one.
    """

    def __init__(
        self, reason: str, *, agent: str = "", machine: str = "", screen: str = ""
    ) -> None:
        self.reason = reason
        self.agent = agent
        self.machine = machine
        self.screen = screen
        super().__init__(reason)

    def __str__(self) -> str:
        where = f" on {self.machine}" if self.machine else ""
        who = f"agent {self.agent!r}{where}: " if self.agent else ""
        if not _said(self.screen):
            return f"{who}{self.reason}"
        shown = "\n".join(f"  | {line}".rstrip() for line in _said(self.screen)[-LAST_LINES:])
        return f"{who}{self.reason}\nIts last screen:\n{shown}"


def _said(screen: str) -> list[str]:
    """The lines of a screen that say something, with one empty line where there were several.

    What tmux writes into a pane whose program has ended is not the program's.
    """
    lines: list[str] = []
    for line in screen.strip().splitlines():
        text = line.rstrip()
        if not text.startswith("Pane is dead (") and (text or (lines and lines[-1])):
            lines.append(text)
    while lines and not lines[-1]:
        lines.pop()
    return lines


class AgentStartFailed(AgentError):
    """The agent's program never came up."""


class AgentDied(AgentError):
    """The agent's program, its tmux or its machine went away."""


class AgentIdle(AgentError):
    """The process waits, and so does every agent it has: nothing can happen any more."""


class AgentStalled(AgentError):
    """The agent was silent for longer than ``stall_timeout``, or ``tool_timeout`` in a tool."""


class AgentEnded(AgentError):
    """The agent was used after its end."""


class NoSuchAgent(AgentError):
    """The run has no agent of this address, or several that it could mean."""


class NoTerminal(AgentError):
    """The agent has no terminal that a person could see."""


class ModelFailed(AgentError):
    """The agent's model refused or failed, and trying again will not help."""


class NoAnswer(AgentError):
    """``agent.ask`` ended without an answer: the agent went idle or took too long."""


class NotConnected(RamureError):
    """One agent addressed another to which no ``connect`` edge leads."""


class EndpointError(RamureError):
    """There is no such endpoint, or the arguments do not fit it."""


class EventTimeout(RamureError, TimeoutError):
    """The awaited event did not come in time."""


class MachineError(RamureError):
    """Something happened to one machine.

    Attributes:
        machine: the machine's name.
    """

    def __init__(self, message: str, *, machine: str = "") -> None:
        super().__init__(f"machine {machine!r}: {message}" if machine else message)
        self.machine = machine


class MachineStartFailed(MachineError):
    """The machine could not be made."""


class MachineGone(MachineError):
    """The machine is no longer there."""


class LinkBroken(MachineError):
    """The way to the machine broke.

    Attributes:
        outcome_unknown: True where a command may or may not have run to its end.
        leftover: the path of a file there that was not whole yet; it may not be removed.
    """

    leftover = ""

    def __init__(self, message: str, *, machine: str = "", outcome_unknown: bool = False) -> None:
        super().__init__(message, machine=machine)
        self.outcome_unknown = outcome_unknown


class RelayUnavailable(MachineError):
    """The relay cannot run on the machine, which works without it, too: slower."""


class ToolSetUnavailable(MachineError):
    """What agents need is not on the machine, and cannot be had for machines of its kind."""


class CommandFailed(MachineError):
    """A command run with ``check=True`` failed or timed out.

    Attributes:
        result: what the command gave until then.
    """

    def __init__(self, message: str, *, result: ExecResult, machine: str = "") -> None:
        super().__init__(message, machine=machine)
        self.result = result


class UnsafePath(MachineError):
    """A name in an archive or a tree that would leave its target folder."""


class RunError(RamureError):
    """Something about one run, as the CLI sees it from outside."""


class NoSuchRun(RunError):
    """There is no live run, or none of this id."""


class SeveralRuns(RunError):
    """The id fits several runs, or was left out where there are several."""


class RunDied(RunError):
    """The run ended without a farewell, or does not answer."""
