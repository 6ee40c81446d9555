"""Commands and files on an SSH host: the ssh program over one connection (ControlMaster)."""

import asyncio
import subprocess

from ssh_program import FOLDER, SSH, both

control = ["-o", f"ControlPath={FOLDER}/control"]
subprocess.run([*SSH, *control, "-M", "-N", "-f", "box"], check=True)
try:
    asyncio.run(both(*control))
finally:
    leave = [*SSH, *control, "-O", "exit", "box"]
    subprocess.run(leave, check=True, capture_output=True)
