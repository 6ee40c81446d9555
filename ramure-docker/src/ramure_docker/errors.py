"""What the engine and its SDK raise, as ramure's errors: what happened, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ssl import SSLError

from ramure.errors import LinkBroken, MachineError, MachineGone, MachineStartFailed

NO_SHELL = "there is no /bin/sh in the image, which ramure needs (take an image with one)"

ABSENT = {errno.ENOENT, errno.ECONNREFUSED}


class EngineUnavailable(LinkBroken):
    """The engine cannot be reached, or does not let us in.

    Attributes:
        absent: nobody listens there.
    """

    absent = False


class ImageNotFound(MachineStartFailed):
    """There is no such image, or it may not be pulled."""


class NoSpace(MachineStartFailed):
    """The engine's disk is full."""


class NameTaken(MachineStartFailed):
    """There is a container of this name already."""


def translate(error: Exception, machine: str = "", *, engine: str = "") -> MachineError:
    """The error of ours that says what an error of the SDK's means."""
    from docker.errors import APIError

    if isinstance(error, MachineError):
        return error
    if isinstance(error, APIError):
        return answered(int(error.status_code or 0), str(error.explanation or error), machine)
    return unreachable(error, machine, engine=engine)


def answered(status: int, words: str, machine: str) -> MachineError:
    """What an answer of the engine means that is no success."""
    low = words.lower()
    if "no space left on device" in low:
        cure = "make room, for example with `docker system prune`"
        return NoSpace(f"the engine's disk is full: {words} ({cure})", machine=machine)
    if status == 409 and "is already in use by container" in low:
        return NameTaken("there is a container of this name already", machine=machine)
    if status == 404 and "no such container" in low:
        return MachineGone("the container has been removed", machine=machine)
    if status == 404 and "no such image" in low:
        return ImageNotFound(f"the engine has lost the image: {words}", machine=machine)
    if status == 409 and "is paused" in low:
        return MachineGone(paused(machine), machine=machine)
    if status == 409 and "is not running" in low:
        return MachineGone("the container does not run any more", machine=machine)
    if lacks_shell(words):
        return MachineStartFailed(NO_SHELL, machine=machine)
    return MachineError(f"the engine says: {words.strip()}", machine=machine)


def lacks_shell(words: str) -> bool:
    """What the engine, or the container's init, says where there is no ``/bin/sh``."""
    low = words.lower()
    return "/bin/sh" in low and any(
        said in low for said in ("exec /bin/sh failed", "no such file", "not found")
    )


def paused(machine: str) -> str:
    """What is said of a container that somebody has paused."""
    return f"the container has been paused by hand (`docker unpause {machine}` lets it go on)"


def unreachable(error: BaseException, machine: str, *, engine: str) -> EngineUnavailable:
    """The error where no answer came at all."""
    where = f"the Docker engine at {engine}" if engine else "the Docker engine"
    number = next(filter(None, map(_errno, _chain(error))), None)
    if number in {errno.EACCES, errno.EPERM}:
        what = (
            f"{where} does not let this user in (add the user to the group `docker` and log in"
            " again, or use a rootless engine)"
        )
    elif number in ABSENT:
        what = f"{where} does not run (start it, or set DOCKER_HOST to where one runs)"
    else:
        what = f"{where} does not answer: {_words(error)}"
    unavailable = EngineUnavailable(what, machine=machine)
    unavailable.absent = number in ABSENT
    return unavailable


def _errno(error: BaseException) -> int | None:
    # What TLS complains of has numbers of its own, which look like an errno.
    return None if isinstance(error, SSLError) else getattr(error, "errno", None)


def _words(error: BaseException) -> str:
    return next((str(e) for e in _chain(error) if str(e)), repr(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from; the SDK and urllib3 wrap them in arguments, too."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [e for e in (found.__cause__, found.__context__) if e is not None]
        waiting += [e for e in found.args if isinstance(e, BaseException)]
