"""Servers that are not OpenSSH, or want something special: asyncssh's own, in this process."""

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import asyncssh
import pytest

from ramure_ssh.errors import HostUnreachable, LoginRefused, SSHError, UnfitAccount

PASSWORD = "correct horse"
HANGS = 60


class Doorman(asyncssh.SSHServer):
    """Lets in whoever knows the password."""

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return password == PASSWORD


async def pour(source, target):
    """Pass all on; what nobody takes is still read, so that the source comes to its end."""
    with suppress(asyncssh.Error, OSError):
        while data := await source.read(1 << 16):
            with suppress(asyncssh.Error, OSError):
                target.write(data)
        target.write_eof()


@pytest.fixture
def odd_server(keys, here, far_home):
    """A server in this process, known as ``odd``."""
    working = {}

    async def work(process):
        env = {**os.environ, "HOME": str(far_home)}
        child = await asyncio.create_subprocess_shell(
            process.command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=env,
            start_new_session=True,
        )
        working[child] = ended = anyio.Event()
        async with anyio.create_task_group() as typing:
            typing.start_soon(pour, process.stdin, child.stdin)
            async with anyio.create_task_group() as writing:
                writing.start_soon(pour, child.stdout, process.stdout)
                writing.start_soon(pour, child.stderr, process.stderr)
            process.exit(await child.wait())
            typing.cancel_scope.cancel()
        ended.set()

    async def end(child):
        """To the end: what is left of it would warn in whichever test comes next."""
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with anyio.fail_after(HANGS):
            await working[child].wait()

    @asynccontextmanager
    async def serve(process_factory=work, server_factory=Doorman):
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=server_factory,
            server_host_keys=[keys / "host_key"],
            process_factory=process_factory,
            encoding=None,
        )
        port = server.get_port()
        kind, key, *_ = (keys / "host_key.pub").read_text().split()
        (here / ".ssh").mkdir(mode=0o700, exist_ok=True)
        (here / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
        async with server:
            yield f"me@127.0.0.1:{port}"
        for child in working:
            await end(child)

    return serve


async def test_a_password_from_a_function(odd_server, provision, caplog):
    async def ask():
        await anyio.lowlevel.checkpoint()
        return PASSWORD

    caplog.set_level(logging.DEBUG)
    async with odd_server() as host:
        machine = await provision(host=host, password=ask)
        assert (await machine.exec("sleep 0.2; echo here; sleep 0.2")).stdout == "here\n"
        await machine.destroy()
    assert PASSWORD not in caplog.text
    assert PASSWORD not in str(machine.ref)
    assert PASSWORD not in repr(machine.connection.login)


async def test_a_password_from_the_environment(odd_server, provision, monkeypatch):
    monkeypatch.setenv("RAMURE_SSH_PASSWORD", PASSWORD)
    async with odd_server() as host:
        machine = await provision(host=host)
        assert (await machine.exec("exit 3")).exit_code == 3
        await machine.destroy()


async def test_a_wrong_password(odd_server, provision):
    async with odd_server() as host:
        with pytest.raises(LoginRefused) as caught:
            await provision(host=host, password=lambda: "wrong pony")
    assert "wrong pony" not in str(caught.value)


async def test_a_question_on_the_keyboard(odd_server, provision):
    class Asks(asyncssh.SSHServer):
        def begin_auth(self, username):
            return True

        def kbdint_auth_supported(self):
            return True

        def get_kbdint_challenge(self, username, lang, submethods):
            return "", "", "en", [("Password: ", False)]

        def validate_kbdint_response(self, username, responses):
            return responses == [PASSWORD]

    async with odd_server(server_factory=Asks) as host:
        machine = await provision(host=host, password=lambda: PASSWORD)
        assert (await machine.exec("exit 3")).exit_code == 3
        await machine.destroy()
    async with odd_server(server_factory=Asks) as host:
        with pytest.raises(LoginRefused):
            await provision(host=host, password=lambda: "wrong pony")


async def test_a_server_that_opens_no_sessions(odd_server, provision):
    async with odd_server(None) as host:
        with pytest.raises(SSHError, match="session"):
            await provision(host=host, password=lambda: PASSWORD)


async def test_a_server_whose_sessions_end_at_once(odd_server, provision):
    async with odd_server(lambda process: process.exit(1)) as host:
        with pytest.raises(UnfitAccount):
            await provision(host=host, password=lambda: PASSWORD)


async def test_what_is_no_ssh_server(here, provision):
    async def babble(reader, writer):
        writer.write(b"220 mail.example.com ESMTP\r\n" * 200)
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HostUnreachable):
            await provision(host=f"me@127.0.0.1:{port}")
