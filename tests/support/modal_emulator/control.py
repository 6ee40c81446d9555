"""The control plane: apps, images, mounts, sandboxes and their tags."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from images import BARE, Builder, BuildFailed, Image, digest, make_base
from modal_proto import api_pb2 as pb
from modal_proto.api_grpc import ModalClientBase
from sandbox import Sandbox
from services import Service

RESULTS = pb.GenericResult
PAGE = 8
"""Sandboxes in one answer to a list."""


def token(seconds: float = 3600) -> str:
    """What looks enough like a JWT."""
    body = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode()
    return f"e30.{body.rstrip('=')}.x"


@dataclass
class Entry:
    """A sandbox, as the control plane knows it."""

    id: str
    task: str
    app: str
    definition: pb.Sandbox
    tags: dict[str, str]
    env: dict[str, str]
    sandbox: Sandbox
    created: float = field(default_factory=time.time)
    result: pb.GenericResult | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    deadline: asyncio.TimerHandle | None = None


class Store:
    """Everything there is; ``folder`` holds the files of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: dict[str, Image] = {}
        self.builds: dict[str, asyncio.Task] = {}
        self.specifications: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        self.mounts: dict[str, dict[str, tuple[str, int]]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.apps: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.internet: set[int] = set()
        self.base = folder / "base"
        make_base(self.base)
        for name in ("files", "blobs", "layers", "sandboxes"):
            (folder / name).mkdir()

    def pull(self, tag: str) -> Image | None:
        """An image of the registry; None where it has none of this name."""
        if "missing" in tag:
            return None
        return Image(f"registry {tag}", (str(self.base),), hidden=BARE if "bare" in tag else ())

    def entry(self, sandbox_id: str) -> Entry:
        if sandbox_id not in self.entries:
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {sandbox_id} not found")
        return self.entries[sandbox_id]

    def of_task(self, task_id: str) -> Entry:
        for entry in self.entries.values():
            if entry.task == task_id and entry.result is None:
                return entry
        raise GRPCError(Status.NOT_FOUND, f"Task {task_id} has finished")

    async def end(self, entry: Entry, status: int, exitcode: int = 0) -> None:
        """The sandbox ends like this; nothing happens where it has ended."""
        if entry.result is not None:
            return
        entry.result = pb.GenericResult(status=status, exitcode=exitcode)
        if entry.deadline:
            entry.deadline.cancel()
        await entry.sandbox.stop()
        entry.ended.set()
        await asyncio.to_thread(shutil.rmtree, entry.sandbox.upper, ignore_errors=True)


class Control(Service):
    """See ``modal_proto.api_grpc``."""

    def __init__(self, store: Store, faults) -> None:
        super().__init__(ModalClientBase, faults)
        self.store = store
        self.router_url = self.blob_url = ""
        self.tasks: set[asyncio.Task] = set()

    async def ClientHello(self, request):
        return pb.ClientHelloResponse(image_builder_version="2025.06")

    async def AuthTokenGet(self, request):
        return pb.AuthTokenGetResponse(token=token())

    async def EnvironmentGetOrCreate(self, request):
        settings = pb.EnvironmentSettings(image_builder_version="2025.06")
        metadata = pb.EnvironmentMetadata(name="main", settings=settings)
        return pb.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    async def AppGetOrCreate(self, request):
        creating = pb.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        if request.app_name not in self.store.apps:
            if request.object_creation_type != creating:
                raise GRPCError(Status.NOT_FOUND, f"App {request.app_name} not found")
            self.store.apps[request.app_name] = f"ap-{len(self.store.apps) + 1}"
        return pb.AppGetOrCreateResponse(app_id=self.store.apps[request.app_name])

    # --- files

    async def MountBatchedCheckExistence(self, request):
        files = self.store.folder / "files"
        missing = [name for name in request.sha256_hex_hashes if not (files / name).exists()]
        return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    async def BlobCreate(self, request):
        name = secrets.token_hex(8)
        url = f"{self.blob_url}/blobs/{name}"
        answer = pb.BlobCreateResponse(blob_id=name, blob_ids=[name])
        answer.upload_urls.items.append(url)
        return answer

    async def MountPutFile(self, request):
        target = self.store.folder / "files" / request.sha256_hex
        if request.data_blob_id:
            (self.store.folder / "blobs" / request.data_blob_id).rename(target)
        elif request.HasField("data"):
            target.write_bytes(request.data)
        return pb.MountPutFileResponse(exists=target.exists())

    async def MountGetOrCreate(self, request):
        if request.deployment_name.startswith("python-build-standalone."):
            files = self._python(request.deployment_name)
        else:
            files = {f.filename: (f.sha256_hex, f.mode) for f in request.files}
        name = f"mo-{digest(json.dumps(files, sort_keys=True).encode())}"
        self.store.mounts[name] = files
        metadata = pb.MountHandleMetadata(content_checksum_sha256_hex=name)
        return pb.MountGetOrCreateResponse(mount_id=name, handle_metadata=metadata)

    def _python(self, name: str) -> dict[str, tuple[str, int]]:
        """What Modal keeps of Pythons to be added to images: here, one that says which it is."""
        text = f'#!/bin/sh\necho "{name}"\n'.encode()
        (self.store.folder / "files" / digest(text)).write_bytes(text)
        return {"/python/bin/python3": (digest(text), 0o755)}

    # --- images

    async def ImageGetOrCreate(self, request):
        spec = request.image
        name = f"im-{digest(spec.SerializeToString(deterministic=True))}"
        answer = pb.ImageGetOrCreateResponse(image_id=name)
        if name in self.store.images:
            answer.result.status = RESULTS.GENERIC_STATUS_SUCCESS
        elif name not in self.store.builds:
            self.store.specifications[name] = str(spec)
            self.store.builds[name] = asyncio.create_task(self._build(name, spec))
        return answer

    async def _build(self, name: str, spec: pb.Image) -> pb.GenericResult:
        files = self.store.folder / "files"
        bases = {base.docker_tag: self.store.images[base.image_id] for base in spec.base_images}
        mount = self.store.mounts.get(spec.context_mount_id, {})
        context = {path: (files / sha, mode) for path, (sha, mode) in mount.items()}
        builder = Builder(self.store, name, self.store.folder / "layers" / name)
        try:
            image = await builder.build(spec.dockerfile_commands, bases, context)
        except BuildFailed:
            self.store.builds.pop(name)
            shutil.rmtree(builder.folder, ignore_errors=True)
            status = RESULTS.GENERIC_STATUS_FAILURE
        else:
            self.store.images[name] = image
            status = RESULTS.GENERIC_STATUS_SUCCESS
        self.store.logs[name] = "".join(builder.log)
        return pb.GenericResult(status=status)

    async def ImageJoinStreaming(self, request):
        build = self.store.builds.get(request.image_id)
        result = await asyncio.shield(build) if build else pb.GenericResult(
            status=RESULTS.GENERIC_STATUS_FAILURE)  # fmt: skip
        log = pb.TaskLogs(data=self.store.logs[request.image_id], file_descriptor=1)
        yield pb.ImageJoinStreamingResponse(task_logs=[log], entry_id="1")
        yield pb.ImageJoinStreamingResponse(result=result, entry_id="2", eof=True)

    async def ImageBuildChainGet(self, request):
        step = pb.ImageBuildStep(image_id=request.image_id, builder_app_id="ap-0")
        step.builder_task_id = request.image_id
        step.started_at.FromSeconds(int(time.time()) - 600)
        step.finished_at.FromSeconds(int(time.time()) + 1)
        return pb.ImageBuildChainGetResponse(build_steps=[step])

    async def AppFetchLogs(self, request):
        lines = self.store.logs.get(request.task_id, "").splitlines(keepends=True)
        items = [pb.TaskLogs(data=line, timestamp=time.time(), file_descriptor=1) for line in lines]
        return pb.AppFetchLogsResponse(batches=[pb.TaskLogsBatch(items=items[-request.limit :])])

    async def ImageFromId(self, request):
        if request.image_id not in self.store.images:
            raise GRPCError(Status.NOT_FOUND, f"Image {request.image_id} not found")
        return pb.ImageFromIdResponse(image_id=request.image_id)

    # --- sandboxes

    async def SandboxCreateV2(self, request):
        number = secrets.token_hex(6)
        env: dict[str, str] = {}
        for source in request.secret_sources:
            env |= source.env.contents
        entry = await self._create(request, number, f"sb-{number}-V2", f"ta-{number}V", env)
        return pb.SandboxCreateV2Response(sandbox_id=entry.id)

    async def SandboxCreate(self, request):
        """As the SDK has those made that ask for graphics; the form of the id tells."""
        number = secrets.token_hex(11)
        env: dict[str, str] = {}
        for name in request.definition.secret_ids:
            env |= self.store.secrets.get(name, {})
        entry = await self._create(request, number, f"sb-{number}", f"ta-{number}", env)
        return pb.SandboxCreateResponse(sandbox_id=entry.id, metadata=self._about(entry))

    async def _create(self, request, number: str, name: str, task: str, env: dict) -> Entry:
        definition = request.definition
        image = self.store.images.get(definition.image_id)
        if image is None:
            raise GRPCError(Status.NOT_FOUND, f"Image {definition.image_id} not found")
        if definition.name and self._named(request.app_id, definition.name):
            raise GRPCError(Status.ALREADY_EXISTS, f"Sandbox {definition.name} already exists")
        upper = self.store.folder / "sandboxes" / number
        scratch = upper.with_name(f"{number}.run")
        title = definition.name or number
        sandbox = await Sandbox.start(title, image, upper, scratch)
        entry = Entry(
            name, task, request.app_id, definition,
            {tag.tag_name: tag.tag_value for tag in request.tags},
            {"MODAL_SANDBOX_ID": name, "MODAL_TASK_ID": task, **env}, sandbox,
        )  # fmt: skip
        self.store.entries[entry.id] = entry
        await self._begin(entry)
        return entry

    async def _begin(self, entry: Entry) -> None:
        definition = entry.definition
        if definition.network_access.network_access_type == pb.NetworkAccess.OPEN:
            for port in self.store.internet:
                await entry.sandbox.offer(port)
        argv = list(definition.entrypoint_args) or ["sleep", "172800"]
        await entry.sandbox.execute("entry", argv, entry.env, definition.workdir, None)
        self._keep(self._watch(entry))
        self.expire_in(entry, definition.timeout_secs)

    def expire_in(self, entry: Entry, seconds: float) -> None:
        if entry.deadline:
            entry.deadline.cancel()
        status = RESULTS.GENERIC_STATUS_TIMEOUT
        entry.deadline = asyncio.get_running_loop().call_later(
            seconds, lambda: self._keep(self.store.end(entry, status))
        )

    def _keep(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _watch(self, entry: Entry) -> None:
        how, code = await entry.sandbox.result
        if how == "exited":
            done = RESULTS.GENERIC_STATUS_FAILURE if code else RESULTS.GENERIC_STATUS_SUCCESS
            await self.store.end(entry, done, code)
        else:
            await self.store.end(entry, RESULTS.GENERIC_STATUS_INTERNAL_FAILURE)

    def _named(self, app: str, name: str) -> list[Entry]:
        return [
            entry for entry in self.store.entries.values()
            if entry.result is None and entry.app == app and entry.definition.name == name
        ]  # fmt: skip

    def _about(self, entry: Entry) -> pb.SandboxHandleMetadata:
        return pb.SandboxHandleMetadata(app_id=entry.app, result=entry.result)

    async def SandboxWaitV2(self, request):
        entry = self.store.entry(request.sandbox_id)
        if entry.result is None and request.timeout:
            with suppress(TimeoutError):
                await asyncio.wait_for(entry.ended.wait(), request.timeout)
        return pb.SandboxWaitResponse(result=entry.result, metadata=self._about(entry))

    async def SandboxTerminateV2(self, request):
        entry = self.store.entry(request.sandbox_id)
        existing = entry.result
        await self.store.end(entry, RESULTS.GENERIC_STATUS_TERMINATED)
        return pb.SandboxTerminateResponse(existing_result=existing)

    async def SandboxListV2(self, request):
        wanted = {tag.tag_name: tag.tag_value for tag in request.tags}
        before = request.before_timestamp or time.time() + 1
        found = sorted(
            (entry for entry in self.store.entries.values()
             if entry.created < before and wanted.items() <= entry.tags.items()
             and (request.include_finished or entry.result is None)
             and (not request.app_id or entry.app == request.app_id)),
            key=lambda entry: entry.created, reverse=True,
        )  # fmt: skip
        return pb.SandboxListResponse(sandboxes=[self._shown(entry) for entry in found[:PAGE]])

    def _shown(self, entry: Entry) -> pb.SandboxInfo:
        return pb.SandboxInfo(
            id=entry.id,
            created_at=entry.created,
            app_id=entry.app,
            name=entry.definition.name,
            metadata=self._about(entry),
        )

    async def SandboxTagsGetV2(self, request):
        tags = self.store.entry(request.sandbox_id).tags.items()
        return pb.SandboxTagsGetResponse(
            tags=[pb.SandboxTag(tag_name=name, tag_value=value) for name, value in tags]
        )

    async def SandboxTagsSetV2(self, request):
        entry = self.store.entry(request.sandbox_id)
        entry.tags = {tag.tag_name: tag.tag_value for tag in request.tags}
        return Empty()

    async def SandboxGetFromNameV2(self, request):
        app = self.store.apps.get(request.app_name, "")
        if not (found := self._named(app, request.sandbox_name)):
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {request.sandbox_name} not found")
        return pb.SandboxGetFromNameResponse(sandbox_id=found[0].id, metadata=self._about(found[0]))

    async def SandboxGetTaskIdV2(self, request):
        entry = self.store.entry(request.sandbox_id)
        if entry.result is not None:
            return pb.SandboxGetTaskIdResponse(task_result=entry.result)
        return pb.SandboxGetTaskIdResponse(task_id=entry.task)

    async def SandboxGetCommandRouterAccess(self, request):
        entry = self.store.entry(request.sandbox_id)
        if entry.result is not None:
            raise GRPCError(Status.FAILED_PRECONDITION, "Sandbox has already finished")
        return pb.SandboxGetCommandRouterAccessResponse(jwt=token(), url=self.router_url)

    async def TaskGetCommandRouterAccess(self, request):
        self.store.of_task(request.task_id)
        return pb.TaskGetCommandRouterAccessResponse(jwt=token(), url=self.router_url)

    # Those that were made the older way are asked for by older names; the list has both kinds.
    SandboxWait = SandboxWaitV2
    SandboxTerminate = SandboxTerminateV2
    SandboxTagsGet = SandboxTagsGetV2
    SandboxTagsSet = SandboxTagsSetV2
    SandboxGetTaskId = SandboxGetTaskIdV2

    # --- what users bring

    async def SecretGetOrCreate(self, request):
        metadata = pb.SecretMetadata(keys=sorted(request.env_dict))
        contents = dict(request.env_dict)
        name = f"st-{request.deployment_name or digest(json.dumps(contents).encode())}"
        self.store.secrets[name] = contents
        return pb.SecretGetOrCreateResponse(secret_id=name, metadata=metadata)

    async def VolumeGetOrCreate(self, request):
        return pb.VolumeGetOrCreateResponse(volume_id=f"vo-{request.deployment_name}")
