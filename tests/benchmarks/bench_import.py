"""What ``import ramure`` costs: wall time of a fresh Python, beside what it stands on."""

import subprocess
import sys
import time

STATEMENTS = ("pass", "import asyncio", "import asyncio, anyio", "import ramure")
ROUNDS = 15


def measure(statement):
    """The best of some rounds, in milliseconds: the least disturbed one."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        times.append(time.perf_counter() - start)
    return min(times) * 1000


if __name__ == "__main__":
    for statement in STATEMENTS:
        print(f"{statement:<24}{measure(statement):6.0f} ms")
