"""What a contract suite makes of failures that its author knows of."""

import pytest

import inner_pytest
from ramure.errors import UsageError
from ramure.testing import KIT
from ramure.testing.machines import MachineContract

SUITES = """
import pytest
from ramure.testing._suite import Suite

class Small(Suite):
    pty = False

    @pytest.fixture
    def thing(self): return 1

    def test_good(self, thing): assert thing == 1
    def test_bad(self, thing): assert thing == 2
    @pytest.mark.parametrize("number", [1, 2])
    def test_one(self, thing, number): assert thing == number
    def test_terminal(self): self.needs("pty")

class TestUndeclared(Small):
    pass

class TestDeclared(Small):
    known_failures = {"test_bad": "there is no two", "test_one[2]": "there is no two"}

class TestStale(Small):
    known_failures = {"test_good": "it was so once"}

class TestNoSuchCase(Small):
    known_failures = {"test_one[3]": "there is no three"}

class TestBrokenFixture(Small):
    known_failures = {"test_bad": "there is no two"}

    @pytest.fixture
    def thing(self): 1 / 0
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suites")
    (folder / "test_small.py").write_text(SUITES)
    return inner_pytest.run(folder, "test_small.py")


def test_a_known_failure_is_expected(ran):
    assert ran.suites["TestDeclared"] == {
        "xfailed": {"test_bad", "test_one[2]"},
        "passed": {"test_good", "test_one[1]"},
        "skipped": {"test_terminal"},
    }


def test_nobody_elses_tests_are_expected_to_fail(ran):
    assert ran.suites["TestUndeclared"]["failed"] == {"test_bad", "test_one[2]"}


def test_one_that_passes_is_stale(ran):
    assert "test_good" in ran.suites["TestStale"]["failed"]
    assert "TestStale.known_failures['test_good'] is stale" in ran.output


def test_a_case_that_there_is_not(ran):
    assert "TestNoSuchCase.known_failures: no such case: test_one[3]" in ran.output
    assert ran.suites["TestNoSuchCase"]["error"] == {"test_one[1]", "test_one[2]"}


def test_what_a_test_needs_is_no_known_failure(ran):
    assert "test_bad" in ran.suites["TestBrokenFixture"]["error"]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"test_no_such": "reason"}, "no test of this name"),
        ({"needs": "reason"}, "no test of this name"),
        ({"test_a_list_is_never_parsed": ""}, "say why"),
        ({"test_a_list_is_never_parsed": " "}, "say why"),
    ],
)
def test_what_cannot_be_meant_is_refused(known, said):
    with pytest.raises(UsageError, match=said):
        type("TestMine", (MachineContract,), {"known_failures": known})


def test_a_suite_for_another_kit_is_refused():
    type("TestMine", (MachineContract,), {"kit": KIT})
    with pytest.raises(UsageError, match=f"written for kit {KIT + 1}"):
        type("TestMine", (MachineContract,), {"kit": KIT + 1})
