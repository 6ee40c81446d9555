"""What this plugin registers with ramure. Imports no SDK."""

from __future__ import annotations

from collections.abc import Iterable

from ramure.hookspecs import BackendInfo, CheckInfo, hookimpl

RAMURE_CONTRACT = 1


@hookimpl
def ramure_register_backends() -> Iterable[BackendInfo]:
    """Sandboxes in Modal's cloud."""
    yield BackendInfo(
        "modal",
        "sandboxes in Modal's cloud",
        load="ramure_modal.backend:ModalBackend",
        image="ramure_modal.image:ModalImage",
    )


@hookimpl
def ramure_register_checks() -> Iterable[CheckInfo]:
    """Whether Modal can be used."""
    yield CheckInfo("modal", "Modal answers and knows the token", load="ramure_modal.checks:cloud")
