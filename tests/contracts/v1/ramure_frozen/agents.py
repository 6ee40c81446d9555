"""A harness and a transport from nothing but the contracts."""

import json
from pathlib import Path

from ramure.errors import AgentStartFailed, MachineError
from ramure.harness import Harness, Session
from ramure.transport import Route, Transport
from ramure.values import Ending, Problem, Terminal

BRIDGE = Path(__file__).with_name("bridge.py")


async def check():
    return [Problem("nothing is wrong", cure="none is needed", unused=True)]


class FrozenRoute(Route):
    def __init__(self, socket):
        self.address = f"unix:{socket}"


class FrozenTransport(Transport):
    name = "frozen"

    async def open(self, machine, target):
        if not machine.here:
            raise MachineError("it is not here", machine=machine.name)
        return FrozenRoute(target.socket)


class FrozenSession(Session):
    def __init__(self, process):
        self._process, self._told = process, False

    async def wait(self):
        code = await self._process.wait()
        return Ending(f"it ended with {code}", exit_code=code, expected=self._told)

    async def screen(self):
        return "a screen"

    @property
    def terminal(self):
        return Terminal(command=("echo", "a screen"), env={})

    async def stop(self):
        self._told = True
        await self._process.aclose()

    def describe(self):
        return {"frozen": 1}


class FrozenHarness(Harness):
    name = "frozen"
    options = ("tool",)

    async def check(self, machine):
        found = await machine.exec("command -v python3", timeout=60)
        return [] if found.ok else [Problem("there is no python3", "install it")]

    async def start(self, machine, spec, route):
        try:
            process = await machine.open_process(
                ["python3", str(BRIDGE)], cwd=spec.cwd, env=spec.env
            )
        except (OSError, MachineError) as error:
            raise AgentStartFailed(str(error), agent=spec.address, machine=machine.name) from error
        told = {
            "path": route.address.removeprefix("unix:"),
            "agent": spec.address,
            "token": spec.token,
            "lease": spec.lease,
            "tool": spec.options["tool"],
        }
        await process.stdin.send(json.dumps(told).encode() + b"\n")
        return FrozenSession(process)
