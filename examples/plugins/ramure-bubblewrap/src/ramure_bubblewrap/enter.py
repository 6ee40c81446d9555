"""Runs a command in a sandbox: ``enter.py PID NAMESPACE FOLDER COMMAND…``, a program of its own.

The first line of its output is ``ok``, or ``gone``, or an error's number and what it is about. Then
the command speaks; its exit code, or the signal that ends it, is this program's. It imports nothing
late: in the sandbox, Python's own files are not there.
"""

import ctypes
import errno
import json
import os
import pwd
import resource
import shutil
import signal
import sys

NAMESPACES = 0x7E020000  # of mounts, control groups, names, IPC, users, processes, networks
DUMPABLE, DROP, NO_NEW_PRIVILEGES = 4, 24, 38  # prctl's
KEPT = {0, 1, 3, 4, 5}  # what root expects to be able to do with its own files and processes
OWN = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
ME = pwd.getpwuid(os.getuid())
libc = ctypes.CDLL(None, use_errno=True)


def say(line: str) -> None:
    """Tell whoever opened the command."""
    os.write(1, f"{line}\n".encode())


def join(pid: int, namespace: int) -> None:
    """Become part of the sandbox; children are in its namespace of processes, too."""
    sandbox = os.pidfd_open(pid)
    if os.stat(f"/proc/{pid}/ns/pid").st_ino != namespace:  # noqa: PTH116
        raise ProcessLookupError
    libc.prctl(DUMPABLE, 0, 0, 0, 0)  # what is inside must not look at what we know
    if libc.setns(sandbox, NAMESPACES):
        raise OSError(ctypes.get_errno(), "the sandbox cannot be entered")
    os.close(sandbox)


def renounce() -> None:
    """Keep no right over the sandbox itself: its read-only mounts are to stay so."""
    for capability in set(range(64)) - KEPT:
        libc.prctl(DROP, capability, 0, 0, 0)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def environment() -> dict[str, str]:
    """What the command is given: the image's variables, its own, and nothing of the program's."""
    kept = ("RAMURE_MARKS", *(["TERM"] if os.isatty(0) else []))
    given = {name: os.environ[name] for name in kept if name in os.environ}
    for variables in ("SANDBOX_ENV", "COMMAND_ENV"):
        given |= json.loads(os.environ.get(variables, "{}"))
    return {**OWN, "HOME": ME.pw_dir, "USER": ME.pw_name, "LOGNAME": ME.pw_name, **given}


def start(folder: str, words: list[str]) -> None:
    """In the child: become the command, or say why not."""
    env = environment()
    try:
        os.chdir(folder)
        program = shutil.which(words[0], path=env["PATH"])
        if program is None:
            there = "/" in words[0] and os.path.lexists(words[0])
            raise OSError(errno.EACCES if there else errno.ENOENT, None, words[0])  # noqa: TRY301
    except OSError as error:
        say(f"{error.errno} {error.filename}")
        os._exit(127)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    renounce()
    say("ok")
    os.execve(program, words, env)  # noqa: S606 the caller's own words


def follow(child: int) -> None:
    """End as the command does."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main(pid: str, namespace: str, folder: str, *words: str) -> None:
    """Run the command."""
    try:
        join(int(pid), int(namespace))
    except ProcessLookupError:
        say("gone")
        sys.exit(1)
    # Signals are for the command, which is in the same process group.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        start(folder, list(words))
    # The pipes are the command's: who reads them is to see its end, and not ours.
    for descriptor in range(3):
        os.close(descriptor)
    follow(child)


if __name__ == "__main__":
    main(*sys.argv[1:])
