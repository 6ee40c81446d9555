"""The root of a run: the run is started, the root process runs, and both are brought to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from ramure.cancellation import complete, finish, outlast
from ramure.errors import UsageError
from ramure.operations import operations
from ramure.placement import resolve_placement
from ramure.plugins import Plugins
from ramure.processes.process import Process
from ramure.processes.requests import Options
from ramure.processes.signals import ending_signals
from ramure.run.control import Control
from ramure.run.runtime import Runtime

TICK = 0.25
"""Seconds between two looks after agents and waiting processes."""


async def tend(root: Process) -> None:
    """Look after a run's processes and agents until cancelled."""
    while True:
        await anyio.sleep(TICK)
        try:
            root.tend(time.monotonic())
        except Exception as error:  # noqa: BLE001 the run goes on, and so does looking after it
            root.runtime.journal.record("tend_failed", {"error": repr(error)})


class Root:
    """A root process and its run: started, run to the end, and closed.

    Attributes:
        process: the root process; there once ``begun`` is set.
        begun: set when the body is about to run, or the run could not be started.
    """

    def __init__(self, name: str, options: Options, body: Callable[[], Awaitable[Any]]) -> None:
        self.name = name
        self.options = options
        self.body = body
        self.process: Process | None = None
        self.begun = anyio.Event()
        self._signal = ""

    async def run(self) -> Any:
        """The whole life of a run; gives the root's result or raises its error as it is."""
        _require_asyncio()
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            # Nothing is raised inside the group: it would leave wrapped in an ExceptionGroup.
            try:
                with ending_signals(self):
                    await self._run(tasks)
            except BaseException as raised:  # noqa: BLE001 raised again below, unwrapped
                error = raised
            finally:
                self.begun.set()
                tasks.cancel_scope.cancel()
        if error is not None:
            raise error
        return cast("Process", self.process).unwrap()

    def end(self, signal: str) -> None:
        """End because of a signal, cleaning up."""
        self._signal = signal
        if self.process is not None:
            self.process.runtime.journal.record("signal", {"signal": signal})
            self.process.cancel()

    def hurry(self) -> None:
        """End now: whoever asked has asked before."""
        if self.process is not None:
            self.process.runtime.journal.record("signal", {"signal": "again"})
            self.process.hurry()

    async def _run(self, tasks: TaskGroup) -> None:
        options = self.options
        plugins = Plugins.load()
        placement = resolve_placement(options.image, options.host, inherited=None, plugins=plugins)
        runtime = Runtime(
            self.name, tasks, log_dir=options.log_dir, listener=options.listener, plugins=plugins
        )
        control = Control()
        # A program that ends at once cancels us here, where nothing has been begun yet.
        await asyncio.sleep(0)
        try:
            await complete(tasks, runtime.start)
            process = Process(self.name, runtime, parent=None, placement=placement, options=options)
            await control.open(runtime.socket, operations(process))
            self.process = process
            if self._signal:  # it came while the run was starting
                self.end(self._signal)
            process.start_in(tasks, self.body)
            tasks.start_soon(tend, process)
            self.begun.set()
            await outlast(process.ended, process.cancel)
        finally:
            await finish(tasks, self._close, control, runtime)

    async def _close(self, control: Control, runtime: Runtime) -> None:
        try:
            await control.aclose()
        finally:
            await runtime.close()


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "ramure needs asyncio's event loop: start the program with asyncio.run(...)"
        ) from None
