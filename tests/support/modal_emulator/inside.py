"""The first process of an emulated sandbox: makes its namespaces and root, and starts commands.

Run as a script with nothing but the standard library, and talked to over a socket, one JSON message
a packet: see ``Inside``. Closing the other end ends it, and then the kernel ends all else.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
from contextlib import suppress

NEW_MOUNTS, NEW_NAME, NEW_IPC, NEW_PIDS, NEW_NET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x20000000,
    0x40000000,
)
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE, DETACH = 1, 32, 4096, 16384, 1 << 18, 2
PARENT_DEATH_SIGNAL = 1
LIMIT = 4 << 20

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source, target, kind="", flags=0, options=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()))


def die_with_parent():
    check(libc.prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))


def mount_root(root, lower, upper, work):
    """The image's layers below what is the sandbox's own; copies where overlays cannot be had."""
    os.makedirs(root)
    try:
        options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
        mount("overlay", root, "overlay", 0, options)
    except OSError:
        mount(upper, root, "", BIND)
        for layer in reversed(lower):
            if os.spawnlp(os.P_WAIT, "cp", "cp", "-a", f"{layer}/.", root):
                raise
    own = None
    if os.path.isdir(f"{root}/usr/local"):  # else this computer's
        own = os.open(f"{root}/usr/local", os.O_PATH | os.O_CLOEXEC)
    mount("/usr", f"{root}/usr", "", BIND | RECURSIVE)
    mount("/usr", f"{root}/usr", "", BIND | REMOUNT | READ_ONLY)
    if own is not None:
        mount(f"/proc/self/fd/{own}", f"{root}/usr/local", "", BIND)
        os.close(own)


def furnish(root, hidden):
    mount("proc", f"{root}/proc", "proc")
    mount("dev", f"{root}/dev", "tmpfs", 0, "mode=755")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT))
        mount(f"/dev/{name}", f"{root}/dev/{name}", "", BIND)
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
    mount("pts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620")
    mount("shm", f"{root}/dev/shm", "tmpfs", 0, "mode=1777,size=256m")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"),
                         ("stdout", "fd/1"), ("stderr", "fd/2")):  # fmt: skip
        os.symlink(target, f"{root}/dev/{name}")
    nothing = f"{root}/dev/.nothing"
    os.close(os.open(nothing, os.O_CREAT, 0o400))
    for path in hidden:  # a program of this computer that the image shall not have
        if os.path.exists(root + path):
            mount(nothing, os.path.realpath(root + path), "", BIND)


def enter(root):
    os.chdir(root)
    check(libc.pivot_root(b".", b"."))
    check(libc.umount2(b".", DETACH))
    os.chdir("/")


def raise_loopback():
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, request)


def execute(argv, env):
    """As ``os.execvpe``, which would import something: there is no Python in the new root."""
    program = argv[0]
    folders = [""] if "/" in program else [f"{it}/" for it in env.get("PATH", "").split(":")]
    error = FileNotFoundError(errno.ENOENT, program)
    for folder in folders:
        try:
            os.execve(folder + program, argv, env)
        except FileNotFoundError:
            pass
        except OSError as other:
            error = other
    raise error


class Inside:
    """Takes ``{"op": "exec" | "listen", "id"}``; says ``{"id", "pid" | "error" | "exit"}``."""

    def __init__(self, control):
        self.control = control
        self.commands = {}
        self.waker, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def say(self, fds=(), **message):
        with suppress(OSError):
            socket.send_fds(self.control, [json.dumps(message).encode()], fds)

    def run(self):
        while True:
            ready, _, _ = select.select([self.control, self.waker], [], [])
            if self.waker in ready:
                os.read(self.waker, 4096)
                self.reap()
            if self.control in ready:
                data, fds, _, _ = socket.recv_fds(self.control, LIMIT, 3)
                if not data:
                    return
                for fd in fds:
                    os.set_inheritable(fd, False)
                self.take(json.loads(data), fds)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (name := self.commands.pop(pid, None)) is not None:
                self.say(id=name, exit=os.waitstatus_to_exitcode(status))

    def take(self, message, fds):
        if message["op"] == "listen":
            door = socket.create_server(("127.0.0.1", message["port"]))
            self.say([door.fileno()], id=message["id"])
            door.close()
        elif message["op"] == "exec":
            self.start(message, fds)
        for fd in fds:
            os.close(fd)

    def start(self, message, fds):
        master = None
        if "size" in message:
            master, slave = os.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *message["size"], 0, 0))
            fds.append(slave)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self.become(message, fds, writer)
        os.close(writer)
        self.commands[pid] = message["id"]
        failure = os.read(reader, 16)
        os.close(reader)
        if failure:
            self.commands.pop(pid)
            self.say(id=message["id"], error=int(failure))
        else:
            self.say([] if master is None else [master], id=message["id"], pid=pid)
        if master is not None:
            os.close(master)

    def become(self, message, fds, writer):
        try:
            os.setsid()
            stdin, stdout, stderr = fds * 3 if "size" in message else fds
            for number, fd in enumerate((stdin, stdout, stderr)):
                os.dup2(fd, number)
            if "size" in message:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(message["cwd"])
            execute(message["argv"], message["env"])
        except OSError as error:
            os.write(writer, str(error.errno or errno.EIO).encode())
        finally:
            os._exit(127)


ALL = NEW_MOUNTS | NEW_NAME | NEW_IPC | NEW_PIDS | NEW_NET


def main():
    if sys.argv[1] == "probe":  # can there be sandboxes here?
        check(libc.unshare(ALL))
        mount("none", "/", "", RECURSIVE | PRIVATE)
        return
    config = json.loads(sys.argv[1])
    control = socket.socket(fileno=0)
    die_with_parent()
    os.setsid()
    check(libc.unshare(ALL))
    if child := os.fork():
        control.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    die_with_parent()
    mount("none", "/", "", RECURSIVE | PRIVATE)
    mount_root(config["root"], config["lower"], config["upper"], config["work"])
    furnish(config["root"], config["hidden"])
    enter(config["root"])
    raise_loopback()
    socket.sethostname(config["name"][:60])
    os.umask(0o022)
    inside = Inside(control)
    inside.say(id="ready")
    inside.run()


if __name__ == "__main__":
    main()
