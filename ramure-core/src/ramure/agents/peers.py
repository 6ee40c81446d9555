"""The built-in tools by which connected agents write to each other and exchange files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ramure.agents.agent import Agent
from ramure.errors import NotConnected
from ramure.tools import Tool
from ramure.trees import copy


def connect(a: Agent, b: Agent, *, both: bool) -> None:
    """Add the edge from ``a`` to ``b``, and back; offer both the tools that these edges allow."""
    for source, target in ((a, b), (b, a)) if both else ((a, b),):
        source.outward[target.address] = target
        target.inward[source.address] = source
    for agent in (a, b):
        _offer_tools(agent)


def _offer_tools(agent: Agent) -> None:
    """Offer the tools that the agent's edges allow, with descriptions that name who is there."""
    if agent.outward:
        names = ", ".join(sorted(agent.outward))
        _offer(agent, _message(agent), f"Send a message to another agent: {names}.")
        _offer(
            agent,
            _send_file(agent),
            f"Copy a file or folder of yours to another agent: {names}. "
            "dest_path is where it goes there; the same path unless given.",
        )
    if agent.inward:
        names = ", ".join(sorted(agent.inward))
        _offer(
            agent,
            _download_file(agent),
            f"Copy a file or folder of another agent to you: {names}. "
            "dest_path is where it goes here; the same path unless given.",
        )


def _offer(agent: Agent, function: Callable[..., Awaitable[str]], description: str) -> None:
    agent.add(Tool.of(function, description=description))


def _find(peers: Mapping[str, Agent], name: str) -> Agent:
    """The peer of this address, or the only one of this name.

    Raises:
        NotConnected: there is none; the message lists those that there are.
    """
    if name in peers:
        return peers[name]
    named = [peer for peer in peers.values() if peer.name == name]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(sorted(peers)) or "nobody"
    trouble = "is the name of several" if named else "is not connected to you in this direction"
    raise NotConnected(f"{name!r} {trouble}; here you can name: {listed}")


def _message(agent: Agent) -> Callable[..., Awaitable[str]]:
    async def message(receiver: str, message: str) -> str:
        target = _find(agent.outward, receiver)
        await target.send(f"[From: {agent.address}] {message}")
        return f"Message sent to {target.address}."

    return message


def _send_file(agent: Agent) -> Callable[..., Awaitable[str]]:
    async def send_file(receiver: str, path: str, dest_path: str = "") -> str:
        target = _find(agent.outward, receiver)
        dest = dest_path or path
        size = await copy(agent.machine, agent.path(path), target.machine, target.path(dest))
        return f"Sent {size} bytes to {target.address}:{dest}."

    return send_file


def _download_file(agent: Agent) -> Callable[..., Awaitable[str]]:
    async def download_file(sender: str, path: str, dest_path: str = "") -> str:
        source = _find(agent.inward, sender)
        dest = dest_path or path
        size = await copy(source.machine, source.path(path), agent.machine, agent.path(dest))
        return f"Downloaded {size} bytes from {source.address}:{path} to {dest}."

    return download_file
