"""Forks children that clear their environment, slowly: each fork copies 30,000 mappings (0.1 s).

`slow_fork.py SECONDS`: they sleep so long. The children that it has before make a look at all
processes take long as well.
"""

import ctypes
import mmap
import os
import subprocess
import sys

MAPPINGS = 30_000
PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

start = libc.mmap(None, 2 * MAPPINGS * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
for page in range(0, 2 * MAPPINGS, 2):  # every other one: neighbours would be merged
    libc.mprotect(start + page * PAGE, PAGE, mmap.PROT_READ | mmap.PROT_WRITE)
    ctypes.memset(start + page * PAGE, 1, 1)
sleep = ["sleep", sys.argv[1]]
for _ in range(100):
    subprocess.Popen(sleep)
print("go", flush=True)
while True:
    if os.fork() == 0:
        os.execve("/bin/sleep", sleep, {})
