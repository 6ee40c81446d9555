"""``import ramure`` costs little: what is heavy is imported when it is used."""

import sys

from checkout import run

HEAVY = {
    *("asyncssh", "docker", "libtmux", "modal", "msgspec"),
    *("pluggy", "psutil", "pydantic", "rich", "typer", "websockets"),
}


def test_import_ramure_imports_nothing_heavy(tmp_path):
    printed = run(
        *(sys.executable, "-c", "import ramure, sys; print(*sys.modules, sep='\\n')"),
        cwd=tmp_path,
    )
    modules = set(printed.split())
    assert "ramure" in modules
    assert not modules & HEAVY
