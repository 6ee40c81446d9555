"""A question to an agent, which it answers by a tool that is made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from ramure.errors import AgentError, AgentStalled, NoAnswer
from ramure.tools import Tool

if TYPE_CHECKING:
    from ramure.agents.agent import Agent


class Question:
    """One question.

    Args:
        agent: who is asked.
        number: which of its questions this is.
        answer_type: what the answer is to be: anything that a tool's argument may be.
    """

    def __init__(self, agent: Agent, number: int, answer_type: Any) -> None:
        self._agent = agent
        self._failed_before = agent.failure
        self._answers: list[Any] = []
        self._tool = self._answering(f"answer_{number}", answer_type)

    def _answering(self, name: str, answer_type: Any) -> Tool:
        async def answer(answer: Any) -> str:
            self._answers.append(answer)
            self._agent.changed()
            return "Answer taken."

        answer.__annotations__["answer"] = answer_type
        about = "Give your answer to the question that names this tool."
        return Tool.of(answer, name=name, description=about)

    async def put(self, message: str, timeout: float | None) -> Any:
        """Put it to the agent and give its answer; see ``Agent.ask``."""
        agent, tool = self._agent, self._tool.name
        agent.offer(self._tool)
        try:
            with anyio.move_on_after(timeout):
                await agent.send(f"{message}\n\nGive your answer by calling {tool}(answer).")
                while not self._answers:
                    self._raise_if_hopeless()
                    await agent.next_change()
        finally:
            if agent.status != "ended":
                agent.withdraw(tool)
        if not self._answers:
            raise agent.error(NoAnswer, f"it gave no answer within {timeout:g} s")
        return self._answers[0]

    def _raise_if_hopeless(self) -> None:
        self._agent.raise_if_ended()
        failure = self._agent.failure if self._agent.failure is not self._failed_before else None
        if self._agent.idle or (failure and self._gave_up(failure)):
            why = failure.reason if failure else "it went idle without an answer"
            raise self._agent.error(NoAnswer, why) from failure

    def _gave_up(self, failure: AgentError) -> bool:
        """Whether nothing more is to be expected of an agent that has failed."""
        return self._agent.status == "idle" or isinstance(failure, AgentStalled)
