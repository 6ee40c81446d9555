"""The plugins that ramure's own project makes, for the message where one is not installed.

The only place in core that knows their names; nothing depends on it but words.
"""

from __future__ import annotations

BACKENDS = frozenset({"docker", "ssh", "modal"})
"""Names of backends that ``pip install 'ramure[name]'`` brings."""


def cure(backend: str) -> str:
    """The command that installs the backend; "" where it is not known."""
    return f"pip install 'ramure[{backend}]'" if backend in BACKENDS else ""


def backend_of_image(image: str) -> str | None:
    """The backend that brings ``DockerImage`` and the like; None where it is not known."""
    return next((backend for backend in BACKENDS if image.lower() == f"{backend}image"), None)
