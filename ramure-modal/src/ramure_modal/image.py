"""What a sandbox starts from, and what it may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ramure.machine import Image

if TYPE_CHECKING:
    import modal

LIFETIME = 4 * 3600
LONGEST = 24 * 3600
"""Seconds: Modal ends every sandbox after this, and none can be made to last longer."""

LEASE = 120.0


@dataclass(frozen=True, slots=True)
class ModalImage(Image):
    """An image, and how sandboxes are made of it. ``docs/guides/modal.md`` says more of each.

    Attributes:
        source: a registry reference (``"python:3.12"``), an image's id (``"im-…"``), or a
            ``modal.Image`` of your own; None for Modal's Debian with Python.
        workdir: where commands run, made where it is not there; None for the image's own.
        env: added to the image's environment. May hold secrets.
        secrets: ``modal.Secret`` objects, or names of secrets kept with Modal.
        cpu: processors requested, such as 0.5; or (request, limit).
        memory: MiB requested; or (request, limit).
        gpu: such as ``"A10G"`` or ``"H100:2"``.
        timeout: seconds after which Modal ends the sandbox, whatever happens; at most 24 h.
        idle_timeout: seconds without a command after which Modal ends it; None for none.
        region: one or several, such as ``"us-east"``.
        cloud: a provider, such as ``"aws"``.
        volumes: ``modal.Volume`` or ``modal.CloudBucketMount`` objects, or names of volumes, by
            where they are mounted.
        block_network: no network at all; agents work all the same if their model is within reach.
        outbound_cidr_allowlist, outbound_domain_allowlist: all that may be dialled; None for all.
        add_python: a Python to add to a registry image that has none, such as ``"3.12"``.
        registry_secret: a ``modal.Secret``, or its name, with the registry's credentials.
        start_timeout: seconds in which the sandbox has to come up, once its image is built.
        lease: seconds that the sandbox outlives the program, where nobody else can end it.
        at_limit: what happens shortly before ``timeout``: ``"fail"``: a warning, then
            ``SandboxExpired``; ``"snapshot"``: its ``image`` also holds all files.
        options: anything else of ``modal.Sandbox.create``, by its name.
    """

    backend: ClassVar[str] = "modal"

    source: str | modal.Image | None = field(default=None, hash=False)
    workdir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    secrets: Sequence[modal.Secret | str] = field(default=(), hash=False)
    cpu: float | tuple[float, float] | None = None
    memory: int | tuple[int, int] | None = None
    gpu: str | None = None
    timeout: int = LIFETIME
    idle_timeout: int | None = None
    region: str | Sequence[str] | None = field(default=None, hash=False)
    cloud: str | None = None
    volumes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    block_network: bool = False
    outbound_cidr_allowlist: Sequence[str] | None = field(default=None, hash=False)
    outbound_domain_allowlist: Sequence[str] | None = field(default=None, hash=False)
    add_python: str | None = None
    registry_secret: modal.Secret | str | None = field(default=None, hash=False)
    start_timeout: float = 300.0
    lease: float = LEASE
    at_limit: Literal["fail", "snapshot"] = "fail"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
