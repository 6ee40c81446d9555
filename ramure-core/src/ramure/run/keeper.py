"""The run's watchdog: a small process of its own session that outlives the run by seconds.

It waits on a pipe whose other end only the run holds. The kernel closes that end however the run
dies, ``kill -9`` included; then the keeper cleans up at once. A run that ends by itself says so on
the pipe first, and the keeper just goes.

Run as a script, by its path and without the ``site`` module: until it has something to do it
imports nothing of ramure and costs one idle Python process of a few MB.
"""

from __future__ import annotations

import os
import sys

BYE = b"bye\n"

COMPLAINTS = "keeper.txt"
"""What went wrong in cleaning up: a file in the run's folder, gone with it where nothing did."""

SWEEP = "import sys; sys.path[:] = sys.argv[2:]; from ramure.run import sweep; sweep.main()"


class Keeper:
    """The run's hold on its keeper."""

    def __init__(self, run: str, home: str) -> None:
        """Start it (a few ms).

        Args:
            run: the execution id.
            home: ``paths.home()`` as it is now; a later change of the environment does not
                mislead it.
        """
        import subprocess

        from ramure.run import forks

        reader, self._pipe = os.pipe()
        forks.withhold(self._pipe)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, run, *_import_path()],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "RAMURE_HOME": home},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(reader)

    def dismiss(self) -> None:
        """The run has ended by itself: let the keeper go, and wait for its end (a few ms)."""
        import subprocess

        from ramure.run import forks

        try:
            os.write(self._pipe, BYE)
        except BrokenPipeError:
            pass  # it is gone already; the run has cleaned up by itself
        finally:
            forks.close(self._pipe)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _import_path() -> list[str]:
    """Where this program imports from: ramure and plugins need be nowhere else.

    Absolute, for the keeper works in another folder. What is relative was looked for in the
    working folder of the moment when something was first imported from there.
    """
    finders = (sys.path_importer_cache.get(entry) for entry in sys.path)
    places = (getattr(f, "path", entry) for f, entry in zip(finders, sys.path, strict=True))
    return [os.path.abspath(place) for place in places]  # noqa: PTH100 "" is a place, too


def main() -> None:
    """Wait for the run's last word or its death; after the latter, clean up."""
    import signal

    # Ctrl-C and a closed terminal are the run's business; what it leaves is the keeper's.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    heard = b""
    while data := os.read(0, 64):
        heard += data
    if not heard.endswith(BYE):
        _complain(os.path.join(os.environ["RAMURE_HOME"], "runtimes", sys.argv[1], COMPLAINTS))  # noqa: PTH118
        arguments = [sys.executable, "-c", SWEEP, *sys.argv[1:]]
        os.execv(sys.executable, arguments)  # noqa: S606 the same program, now with ramure


def _complain(place: str) -> None:
    """Have what is written to stderr from now on written there."""
    try:
        file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return  # the run has left no folder, or the disk is full
    os.dup2(file, 2)


if __name__ == "__main__":
    main()
