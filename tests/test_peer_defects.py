"""The defects that were found in ramure 0.0.3, and the tests that would fail on each of them.

The tests named here are where the behaviour is tested; this one fails when a name goes stale, so
that none of these promises is dropped without anybody noticing.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = "ramure-core/tests"
SUITES = "ramure-core/src/ramure/testing"

DEFECTS = {
    "1 whoever has no token can speak as an agent": [
        f"{CORE}/test_listen.py::test_only_the_agents_own_token_gets_in",
        f"{CORE}/test_listen.py::test_nothing_is_answered_before_the_proof",
        f"{CORE}/test_listen.py::test_the_socket_is_its_owners_alone",
    ],
    "2 a stale agent of an old run drives a new one": [
        f"{CORE}/test_listen.py::test_a_stale_agent_of_an_old_run_is_told_to_end",
    ],
    "3 keys are visible in ps": [
        f"{CORE}/pi/test_pi.py::test_secrets_stay_secret",
        f"{SUITES}/_contract_exec.py::test_the_environment_is_in_no_argument_list",
    ],
    "4 signals leak sessions, processes, sockets and files": [
        f"{CORE}/endings/test_endings.py::test_a_program_with_real_agents_that_is_told_to_end",
        f"{CORE}/endings/test_killed.py::test_kill_9_of_the_program_and_its_keeper_leaves_no_pi",
        f"{CORE}/endings/test_killed.py::test_kill_9",
    ],
    "5 a killed pi or tmux hangs wait() and swallows send()": [
        f"{CORE}/pi/test_pi.py::test_tells_that_pi_was_killed",
        f"{CORE}/pi/test_pi.py::test_tells_that_tmux_was_killed",
        f"{CORE}/agents/test_deaths.py::test_an_agent_that_dies_fails_its_process_loudly",
    ],
    "6 a registration time-out leaks session and pi": [
        f"{CORE}/agents/test_stalls.py::test_an_agent_that_never_reports_is_a_typed_failure",
    ],
    "7 model failures are not noticed": [
        f"{CORE}/pi/test_pi.py::test_a_refused_key_is_a_final_failure",
        f"{CORE}/pi/test_pi.py::test_an_error_that_stays_is_a_final_failure",
        f"{CORE}/agents/test_stalls.py::test_a_model_failure_for_good_fails_the_process",
    ],
    "8 creating w1 kills w1x": [
        f"{CORE}/agents/test_agent.py::test_a_name_that_begins_another_harms_nobody",
        f"{CORE}/pi/test_pi.py::test_two_agents_share_a_machine",
    ],
    "9 /reload and /new run tools again": [
        f"{CORE}/pi/test_pi.py::test_reload_and_new_repeat_nothing_and_lose_nothing",
    ],
    "10 reconnecting dies after one refused attempt": [
        f"{CORE}/test_channel.py::test_many_faults_lose_double_and_reorder_nothing",
        f"{CORE}/pi/test_pi.py::test_a_call_outlives_its_connection",
    ],
    "11 a slow call delays others; a handler cannot await its agent's next event": [
        f"{CORE}/agents/test_calls.py::test_a_slow_call_delays_no_other",
        f"{CORE}/agents/test_calls.py::test_a_handler_may_wait_for_its_own_agents_next_event",
    ],
    "12 a bad or large frame closes the connection and the call gets no result": [
        f"{CORE}/test_channel.py::test_a_call_that_cannot_be_read_is_answered",
        f"{CORE}/test_channel.py::test_a_call_over_the_limit_is_answered_and_the_connection_goes_on",
        f"{CORE}/agents/test_calls.py::test_a_handler_that_raises_answers_and_the_program_goes_on",
    ],
    "13 arguments are not validated; an empty exception is a success": [
        f"{CORE}/agents/test_calls.py::test_wrong_calls_are_answered_with_what_to_do",
        f"{CORE}/agents/test_calls.py::test_a_handler_that_raises_answers_and_the_program_goes_on",
    ],
    "14 an agent's name writes outside the run's folder": [
        f"{CORE}/agents/test_agent.py::test_names_that_could_do_harm_are_refused",
        f"{CORE}/test_listen.py::test_a_name_in_a_hello_leads_nowhere",
    ],
    "15 LocalImage(env=) does not reach pi": [
        f"{CORE}/agents/test_with_pi.py::test_the_images_environment_reaches_pi",
    ],
    "16 handles cannot be awaited and carry no exception": [
        f"{CORE}/processes/test_children.py::test_a_handle_can_be_awaited",
    ],
    "17 what is sent while disconnected is dropped": [
        f"{CORE}/test_channel.py::test_what_is_sent_without_a_connection_arrives_later",
        f"{CORE}/test_channel.py::test_a_call_survives_a_cut_before_its_result",
    ],
    "18 exec: held pipes, exit code 124, cancellation, lossy output": [
        f"{SUITES}/_contract_exec.py::test_a_time_out_ends_though_a_child_holds_the_pipes",
        f"{SUITES}/_contract_exec.py::test_exit_code_124_is_no_time_out",
        f"{SUITES}/_contract_exec.py::test_cancellation_kills_all",
        f"{SUITES}/_contract_exec.py::test_bytes_go_through_unchanged",
    ],
    "19 cancelling await agent() leaks the machine": [
        f"{CORE}/agents/test_agent.py::test_cancelling_a_start_leaves_nothing",
        f"{CORE}/endings/test_endings.py::test_cancelled_at_any_await",
    ],
    "20 listen_for misses an event": [
        f"{CORE}/test_events.py::test_listening_starts_at_the_call",
    ],
    "21 the bridge cannot connect on Node 20": [
        f"{CORE}/pi/test_pi.py::test_works_from_a_message_to_its_result",
    ],
    "22 failed is emitted before cleanup": [
        f"{CORE}/agents/test_deaths.py::test_an_immediate_retry_may_use_the_same_names",
        f"{CORE}/processes/test_talking.py::test_an_immediate_retry_by_events",
    ],
    "23 children outlive their parent": [
        f"{CORE}/processes/test_children.py::test_spawned_children_end_before_their_parent",
        f"{CORE}/processes/test_children.py::test_survivors_of_a_gather_end_with_their_parent",
    ],
    "24 NaN in a result, or a CancelledError, hangs the call": [
        f"{CORE}/agents/test_calls.py::test_a_handler_that_raises_answers_and_the_program_goes_on",
    ],
    "25 files leak into /tmp": [
        f"{CORE}/endings/test_endings.py::test_a_program_that_ends_by_itself",
        f"{CORE}/agents/test_with_pi.py::test_a_run_leaves_no_temporary_file",
    ],
    "26 connect fails inside tmux": [
        f"{CORE}/cli/test_terminals.py::test_connect_works_inside_a_persons_own_tmux",
    ],
    "27 the control socket's mode follows the umask": [
        f"{CORE}/test_control.py::test_only_the_owner_may_open_it_whatever_the_umask",
    ],
}


@cache
def _functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_has_its_tests(defect):
    for named in DEFECTS[defect]:
        path, _, function = named.partition("::")
        assert function in _functions(path), f"{named} is no more"


def test_none_is_left_out():
    assert [int(defect.split()[0]) for defect in DEFECTS] == list(range(1, 28))
