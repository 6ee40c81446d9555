"""What a container starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ramure.machine import Image

Pull = Literal["missing", "always", "never"]

DEFAULT = "debian:bookworm-slim"
LEASE = 120.0
"""Seconds that a container outlives the program and its keeper where nobody can remove it."""


@dataclass(frozen=True, slots=True)
class DockerImage(Image):
    """An image, and how containers are made of it. ``docs/guides/docker.md`` says more of each.

    Attributes:
        reference: as ``docker run`` takes it: ``python:3.12``, ``ghcr.io/me/box@sha256:…``, an id.
        workdir: where commands run; None for the image's own.
        env: added to the image's environment. May hold secrets; ``docker inspect`` shows them.
        user: name or uid, with or without ``:group``; None for the image's own.
        cpus: how many processors, such as 1.5.
        memory: bytes, or text such as ``"2g"``; beyond it, the kernel kills.
        pids: processes and threads.
        shm: size of ``/dev/shm``: bytes, or text such as ``"1g"``.
        gpus: how many, ``"all"``, or their ids.
        volumes: what is mounted where: ``{"/here": "/there"}``, ``{"name": "/there:ro"}``.
        mounts: further mounts as ``docker.types.Mount`` takes them, such as
            ``{"type": "tmpfs", "target": "/scratch"}``.
        network: ``"none"``, ``"host"``, ``"bridge"``, or a network's name; None for the engine's
            default.
        extra_hosts: names and addresses for ``/etc/hosts``.
        dns: name servers.
        labels: added to those that ramure gives.
        platform: such as ``"linux/arm64"``.
        read_only: nothing but the mounts can be written to.
        cap_add, cap_drop: capabilities beyond Docker's own choice, and not even those.
        security_opt: as ``docker run`` takes them, such as ``"no-new-privileges"``.
        privileged: all capabilities and devices.
        init: run a small init, which reaps what others leave.
        pull: ``"missing"``: where the engine lacks the image; ``"always"``; ``"never"``.
        lease: seconds that a container outlives the program and its keeper where nobody can remove
            it: it removes itself.
        options: anything else of ``APIClient.create_host_config`` of the docker SDK, by its name.
            What it mounts is added.
    """

    backend: ClassVar[str] = "docker"

    reference: str = DEFAULT
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    user: str | None = None
    cpus: float | None = None
    memory: int | str | None = None
    pids: int | None = None
    shm: int | str | None = None
    gpus: int | Literal["all"] | Sequence[str] | None = field(default=None, hash=False)
    volumes: Mapping[str, str] = field(default_factory=dict, hash=False)
    mounts: Sequence[Mapping[str, Any]] = field(default=(), hash=False)
    network: str | None = None
    extra_hosts: Mapping[str, str] = field(default_factory=dict, hash=False)
    dns: Sequence[str] = field(default=(), hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: str | None = None
    read_only: bool = False
    cap_add: Sequence[str] = field(default=(), hash=False)
    cap_drop: Sequence[str] = field(default=(), hash=False)
    security_opt: Sequence[str] = field(default=(), hash=False)
    privileged: bool = False
    init: bool = True
    pull: Pull = "missing"
    lease: float = LEASE
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
