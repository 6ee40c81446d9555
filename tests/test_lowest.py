"""The oldest versions of its dependencies that core says it works with."""

from checkout import ROOT, run

QUICK = ["tools"]
"""What touches the dependencies without starting agents."""


def test_core_works_with_the_oldest_versions_it_admits(uv, wheels, environment, tmp_path):
    lowest = ("--require-hashes", "--no-deps", "--requirement", ROOT / "constraints/lowest.txt")
    uv("pip", "install", "--python", environment, *lowest)
    (wheel,) = wheels.glob("ramure-*.whl")
    uv("pip", "install", "--python", environment, "--no-deps", wheel)
    tests = [ROOT / "ramure-core/tests" / name for name in QUICK]
    printed = run(
        *(environment, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider"),
        *("--rootdir", tmp_path, "--config-file", ROOT / "pyproject.toml", *tests),
    )
    assert " passed" in printed
