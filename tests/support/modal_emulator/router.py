"""The task command router: execs, their streams, and snapshots."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from dataclasses import replace

from control import Store
from grpclib import GRPCError, Status
from modal_proto import task_command_router_pb2 as pb
from modal_proto.task_command_router_grpc import TaskCommandRouterBase
from sandbox import Command
from services import Service

STDERR = pb.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR


class Router(Service):
    """See ``modal_proto.task_command_router_grpc``."""

    def __init__(self, store: Store, faults) -> None:
        super().__init__(TaskCommandRouterBase, faults)
        self.store = store

    def _command(self, request) -> Command:
        commands = self.store.of_task(request.task_id).sandbox.commands
        if request.exec_id not in commands:
            raise GRPCError(Status.NOT_FOUND, f"exec {request.exec_id} not found")
        return commands[request.exec_id]

    async def TaskExecStart(self, request):
        entry = self.store.of_task(request.task_id)
        if request.exec_id in entry.sandbox.commands:  # asked for again: the answer was lost
            return pb.TaskExecStartResponse()
        env = {**entry.env, **request.env}
        for source in request.secret_sources:
            env |= source.env.contents
        size = None
        if request.HasField("pty_info") and request.pty_info.enabled:
            size = request.pty_info.winsz_rows or 24, request.pty_info.winsz_cols or 80
        cwd = request.workdir or entry.definition.workdir
        try:
            await entry.sandbox.execute(request.exec_id, request.command_args, env, cwd, size)
        except ConnectionError as error:
            raise GRPCError(Status.NOT_FOUND, str(error)) from error
        except OSError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, f"cannot start: {error}") from error
        return pb.TaskExecStartResponse()

    async def TaskExecStdioRead(self, request):
        command = self._command(request)
        output = command.stderr if request.file_descriptor == STDERR else command.stdout
        offset = request.offset
        while data := await output.read(offset):
            offset += len(data)
            yield pb.TaskExecStdioReadResponse(data=data)

    async def TaskExecStdinWrite(self, request):
        await self._write(self._command(request), request.offset, request.data, request.eof)
        return pb.TaskExecStdinWriteResponse()

    async def _write(self, command: Command, offset: int, data: bytes, eof: bool) -> None:
        try:
            await command.stdin.write(offset, data, eof)
        except BrokenPipeError:
            raise GRPCError(Status.FAILED_PRECONDITION, "stdin is closed") from None

    async def TaskExecStdinWriteStream(self, stream):
        start = (await stream.recv_message()).start
        command, offset = self._command(start), start.offset
        while message := await stream.recv_message():
            if message.HasField("end"):
                await self._write(command, offset, b"", True)
                break
            await self._write(command, offset, message.data, False)
            offset += len(message.data)
        return pb.TaskExecStdinWriteStreamResponse()

    async def TaskExecStdinStatus(self, request):
        stdin = self._command(request).stdin
        return pb.TaskExecStdinStatusResponse(num_bytes_written=stdin.written, closed=stdin.closed)

    async def TaskExecPoll(self, request):
        ended = self._command(request).ended
        return pb.TaskExecPollResponse(**_status(ended.result())) if ended.done() else (
            pb.TaskExecPollResponse())  # fmt: skip

    async def TaskExecWait(self, request):
        code = await asyncio.shield(self._command(request).ended)
        return pb.TaskExecWaitResponse(**_status(code))

    async def TaskSnapshotFilesystem(self, request):
        entry = self.store.of_task(request.task_id)
        image = entry.sandbox.image
        name = f"im-{secrets.token_hex(10)}"
        layer = self.store.folder / "layers" / name
        copying = ["cp", "-a", str(entry.sandbox.upper), str(layer)]
        await asyncio.to_thread(subprocess.run, copying, check=True)
        self.store.images[name] = replace(image, id=name, layers=(str(layer), *image.layers))
        return pb.TaskSnapshotFilesystemResponse(image_id=name)


def _status(code: int) -> dict[str, int]:
    return {"code": code} if code >= 0 else {"signal": -code}
