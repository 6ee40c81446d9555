"""What Modal's errors mean, in ramure's words.

MachineStartFailed
└── ImageBuildFailed    the image could not be built; ``log`` has what the build said
MachineGone
└── SandboxExpired      its ``timeout`` was over; ``image`` holds its files where that was wanted
"""

from __future__ import annotations

from ramure.errors import LinkBroken, MachineError, MachineGone, MachineStartFailed
from ramure_modal.image import ModalImage

LAST_LINES = 30


class ImageBuildFailed(MachineStartFailed):
    """Modal could not build the image.

    Attributes:
        log: what the build said; "" where Modal does not tell.
    """

    def __init__(self, message: str, *, machine: str = "", log: str = "") -> None:
        tail = "".join(f"\n  | {line}" for line in log.rstrip().splitlines()[-LAST_LINES:])
        super().__init__(message + tail, machine=machine)
        self.log = log


class SandboxExpired(MachineGone):
    """The sandbox reached its ``timeout``, or Modal's limit of 24 hours.

    Attributes:
        image: its files as they were shortly before, with ``at_limit="snapshot"``; else None.
    """

    def __init__(self, message: str, *, machine: str = "", image: ModalImage | None = None) -> None:
        super().__init__(message, machine=machine)
        self.image = image


def start_failed(error: Exception, machine: str) -> MachineError:
    """The error of a sandbox that could not be made."""
    from modal import exception as modal

    if isinstance(error, MachineError):
        return error
    if isinstance(error, modal.ResourceExhaustedError):
        reason = (
            f"Modal's limits are used up ({_words(error)}); end other sandboxes (`ramure gc` ends "
            "forgotten ones), or raise the limits in Modal's settings"
        )
    elif isinstance(error, modal.AlreadyExistsError):
        reason = f"there is a sandbox of this name already ({_words(error)})"
    else:
        reason = unusable(error) or f"Modal refuses to make the sandbox: {_words(error)}"
    return MachineStartFailed(reason, machine=machine)


def no_answer(image: ModalImage, seconds: float, machine: str) -> MachineError:
    """The error of a sandbox that Modal neither makes nor refuses."""
    if image.gpu is None:
        return MachineStartFailed(f"Modal did not answer within {seconds:g} s", machine=machine)
    return MachineStartFailed(
        f"Modal had no room for gpu={image.gpu!r} within {seconds:g} s; ask for another one, or "
        "wait longer with ModalImage(start_timeout=…)",
        machine=machine,
    )


def unusable(error: Exception) -> str:
    """Why Modal cannot be used at all, and the cure; "" where that is not what the error says."""
    from modal import exception as modal

    if isinstance(error, modal.AuthError | modal.PermissionDeniedError):
        return (
            f"Modal has no valid token ({_words(error)}): run `modal token new`, or set "
            "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
        )
    if transient(error) or isinstance(error, TimeoutError):
        return f"Modal cannot be reached ({_words(error)}): check the network and status.modal.com"
    return ""


def transient(error: Exception) -> bool:
    """Whether the same may do better in a moment."""
    from grpclib.exceptions import StreamTerminatedError
    from modal import exception as modal

    kinds = (modal.ConnectionError, modal.ServiceError, modal.InternalError, modal.TimeoutError)
    return isinstance(error, (*kinds, StreamTerminatedError, OSError))


def in_use(error: Exception, machine: str) -> MachineError:
    """The error of a sandbox that was being used, as far as it is known to be there."""
    if isinstance(error, MachineError):
        return error
    reason = unusable(error) or f"Modal says: {_words(error)}"
    return LinkBroken(reason, machine=machine, outcome_unknown=True)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
