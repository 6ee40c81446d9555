"""A program that starts an agent and is killed: run by the tests, never by itself."""

import json
import os
import signal
import sys
from pathlib import Path

import anyio

from ramure.backends.local import LocalBackend, LocalImage
from ramure.harnesses.pi.harness import PiHarness
from ramure.run import protocol
from ramure.run.channel import Channel
from ramure.run.listen import Listener
from ramure.transports.direct import DirectRoute
from ramure.values import AgentSpec, Host


async def main(folder: Path, *, stop_pi: bool) -> None:
    run = f"killed-{os.getpid()}-{folder.name}"
    machine = await LocalBackend().provision(
        LocalImage(folder), Host("local"), name="killed", labels={"ramure.run": run}
    )
    state = Path(machine.state_dir) / "w1"
    state.mkdir(mode=0o700)
    env = {"PI_CODING_AGENT_DIR": str(folder / "pi folder")}
    spec = AgentSpec(run, "w1", "t", str(state), str(folder), env=env, lease=1.0)
    ready: list[protocol.Ready] = []
    arrived = anyio.Event()

    def take(message: object) -> None:
        if isinstance(message, protocol.Ready):
            ready.append(message)
            arrived.set()

    listener = Listener(run)
    listener.register(Channel(run=run, agent="w1", token="t", lease=1.0, on_message=take))
    await listener.open_unix(folder / "killed.sock")
    session = await PiHarness().start(machine, spec, DirectRoute(f"unix:{folder}/killed.sock"))
    with anyio.fail_after(60):
        await arrived.wait()
    if stop_pi:
        os.kill(ready[0].pid, signal.SIGSTOP)
    socket = session.describe()["tmux_socket"]
    ref = {"backend": machine.ref.backend, "name": machine.ref.name, "data": dict(machine.ref.data)}
    sys.stdout.write(json.dumps({"run": run, "tmux": socket, "ref": ref}))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


anyio.run(lambda: main(Path(sys.argv[1]), stop_pi=sys.argv[2] == "True"))
