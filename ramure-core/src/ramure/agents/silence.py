"""How long an agent may say nothing: while its model works, and while a tool does."""

from __future__ import annotations

import time

from ramure.agents.settings import AgentSettings
from ramure.agents.toolbox import Toolbox
from ramure.run.protocol import Activity, FromAgent, Queued, Used


class Silence:
    """Since when nothing was heard of an agent, and what was at work then.

    The program's own tools are known by the events ``tool_start`` and ``tool_end``, which a bridge
    may leave out: a model that has answered again waits for none of those before.
    """

    def __init__(self, settings: AgentSettings, toolbox: Toolbox) -> None:
        self._settings = settings
        self._toolbox = toolbox
        self._since = time.monotonic()
        self._tools: dict[str, str] = {}

    def end(self) -> None:
        """Something happened that the agent has to go on from."""
        self._since = time.monotonic()

    def forget_tools(self) -> None:
        """None of the program's own tools is at work any more."""
        self._tools.clear()

    def hear(self, message: FromAgent) -> None:
        """The agent's program said something."""
        if isinstance(message, Queued):
            return  # its bridge took something in: no sign of its model, nor of a tool
        self.end()
        if isinstance(message, Used):
            self.forget_tools()
        elif isinstance(message, Activity) and message.type in ("tool_start", "tool_end"):
            self._hear_tool(message)

    def _hear_tool(self, activity: Activity) -> None:
        about = activity.data if isinstance(activity.data, dict) else {}
        name = str(about.get("name", ""))
        key = str(about.get("id", name))
        if activity.type == "tool_start":
            self._tools[key] = name
        else:
            self._tools.pop(key, None)

    def too_long(self, now: float) -> str:
        """Why the agent counts as stalled, in words, once; nothing where it does not."""
        tools = list(dict.fromkeys([*self._tools.values(), *self._toolbox.running]))
        limit = self._settings.tool_timeout if tools else self._settings.stall_timeout
        if limit is None or now - self._since <= limit or self._toolbox.excused:
            return ""
        self._since = now
        if not tools:
            return f"its model said nothing for {limit:g} s"
        names = ", ".join(map(repr, tools))
        return (
            f"nothing was heard of it for {limit:g} s while its tool {names} was at work: give the "
            "tool a time-out, or the agent a longer tool_timeout="
        )
