"""What is measured of files, the same for each contender."""

import os
import sys
import tempfile
import time
from pathlib import Path


async def measure_files(upload, download, kind):
    """Carry a file there and back; what each way took."""
    size = int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        there, back = Path(folder) / "there", Path(folder) / "back"
        there.write_bytes(os.urandom(size))
        start = time.perf_counter()
        await upload(there, "bench-file")
        up = time.perf_counter() - start
        start = time.perf_counter()
        await download("bench-file", back)
        down = time.perf_counter() - start
        assert back.read_bytes() == there.read_bytes()
    return {f"50 MB there{kind}": up, f"50 MB back{kind}": down}
