"""Modal on this computer, for tests: a process of its own that the real SDK talks to over loopback.

``server.py`` is that process; ``client.py`` starts it and works its switches. A sandbox is a
process tree in its own mount, pid and network namespaces (``inside.py``), so that nothing in it can
reach the program but through the SDK. Its programs are this computer's (``/usr``, read-only); all
else is its own.
"""
