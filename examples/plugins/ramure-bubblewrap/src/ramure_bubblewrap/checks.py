"""What ``ramure doctor`` looks at."""

from __future__ import annotations

import secrets
import shutil

from ramure.errors import MachineError
from ramure.values import Host, Problem
from ramure_bubblewrap.backend import BubblewrapBackend
from ramure_bubblewrap.image import BubblewrapImage


# --8<-- [start:check]
async def usable() -> list[Problem]:
    """Whether a sandbox can be made, told by making one."""
    if shutil.which("bwrap") is None:
        cure = "apt install bubblewrap, or the like of your system"
        return [Problem("there is no bwrap on the PATH", cure, unused=True)]
    name = f"doctor-{secrets.token_hex(4)}"
    try:
        machine = await BubblewrapBackend().provision(
            BubblewrapImage(), Host("bubblewrap"), name=name, labels={"ramure.run": name}
        )
    except MachineError as error:
        cure = "does the system let its users make namespaces (kernel.unprivileged_userns_clone)?"
        return [Problem(f"bwrap is here, but makes no sandbox: {error}", cure)]
    await machine.destroy()
    return []


# --8<-- [end:check]
