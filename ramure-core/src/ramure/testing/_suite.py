"""What all contract suites share: abilities that are declared, and failures that are known."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import pytest

from ramure.errors import UsageError
from ramure.testing._version import KIT


class Suite:
    """The root of the contract suites.

    Attributes:
        kit: the version of the kit (``ramure.testing.KIT``) that the subclass was written for;
            under another one it is refused. None: whichever there is.
        known_failures: a reason for each test that is known to fail, by its name; one case of a
            test with several is ``"test_name[case]"``. Strict: where such a test passes, it fails,
            because the entry is stale. What is in the way of a test (its fixtures) is no known
            failure.
    """

    kit: ClassVar[int | None] = None
    known_failures: ClassVar[Mapping[str, str]] = {}

    pytestmark = pytest.mark.anyio

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.kit not in {None, KIT}:
            raise UsageError(
                f"{cls.__name__} was written for kit {cls.kit} of ramure.testing, and this is kit "
                f"{KIT}: see what has changed in ramure's docs/reference/testing-kit.md"
            )
        for test, reason in cls.known_failures.items():
            where = f"{cls.__name__}.known_failures[{test!r}]"
            if not reason.strip():
                raise UsageError(f"{where}: say why it is known to fail")
            name = test.partition("[")[0]
            if not name.startswith("test_") or not callable(getattr(cls, name, None)):
                raise UsageError(f"{where}: the suite has no test of this name")

    def needs(self, ability: str) -> None:
        """Skip the test where its subject was declared without an ability."""
        if not getattr(self, ability):
            pytest.skip(f"{type(self).__name__} declares no {ability}")

    @pytest.fixture(autouse=True)
    def _known_failure(self, request: pytest.FixtureRequest) -> None:
        """Expect the test to fail where that was declared."""
        test: pytest.Function = request.node
        _check_cases(type(self), test)
        for name in (test.name, test.originalname):
            if reason := self.known_failures.get(name):
                stale = f"where it passes, {type(self).__name__}.known_failures[{name!r}] is stale"
                test.add_marker(pytest.mark.xfail(reason=f"{reason} ({stale})", strict=True))


def _check_cases(suite: type[Suite], test: pytest.Function) -> None:
    """Refuse a known failure of a case that this test does not have, where all are collected."""
    declared = {n for n in suite.known_failures if n.startswith(f"{test.originalname}[")}
    if not declared:
        return
    there = {
        item.name
        for item in test.session.items
        if item.parent is test.parent and getattr(item, "originalname", "") == test.originalname
    }
    cases = prod(len(mark.args[1]) for mark in test.iter_markers("parametrize"))
    unknown = ", ".join(sorted(declared - there))
    if unknown and len(there) == cases:
        pytest.fail(f"{suite.__name__}.known_failures: no such case: {unknown}", pytrace=False)
