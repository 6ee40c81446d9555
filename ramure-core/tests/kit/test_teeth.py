"""The kit has teeth: what is broken in one way is caught, by the right tests and by no others."""

from pathlib import Path

import pytest

import inner_pytest

BROKEN = Path(__file__).with_name("broken_machines.py")

CAUGHT = {
    # what is run
    "JoinsArguments": {
        "test_a_list_is_never_parsed",
        "test_the_environment_arrives_as_it_is",
        # whatever has a word with a space in it
        "test_a_missing_cwd",
        "test_a_missing_program",
        "test_a_normal_end_kills_nothing",
        "test_a_program_that_may_not_be_run",
        "test_cwd_may_be_relative",
        "test_ended_by_a_signal",
    },
    "ShowsTheEnvironment": {"test_the_environment_is_in_no_argument_list"},
    "KeepsTheEnvironment": {"test_the_environment_is_for_one_command"},
    # how it ends
    "ReturnsLate": {"test_a_time_out_ends_though_a_child_holds_the_pipes"},
    "WaitsForChildren": {"test_waiting_does_not_mind_children"},
    "SaysTimeOutBy124": {
        "test_exit_code_124_is_no_time_out",
        "test_a_time_out_ends_though_a_child_holds_the_pipes",
        "test_a_time_out_keeps_what_came",
    },
    "KillsItsGroup": {
        "test_a_time_out_kills_all",
        "test_a_time_out_kills_what_its_parents_have_left",
        "test_cancellation_kills_all",
        "test_cancelling_twice_kills_all",
    },
    "KillsItsGroupOfProcesses": {"test_kill_kills_all", "test_leaving_kills_what_runs"},
    "LeavesWithoutKilling": {"test_leaving_kills_what_runs"},
    "StartsAndThenWaits": {"test_cancelling_a_start_leaves_nothing"},
    "KillsAtTheEnd": {"test_a_normal_end_kills_nothing"},
    "SurvivesItsEnd": {"test_destroying", "test_destroying_ends_what_runs"},
    # what goes in and out
    "LosesBytes": {
        "test_bytes_go_through_unchanged",
        "test_much_output_on_both_streams",
        "test_output_and_input_at_once",
        "test_the_last_bytes_arrive",
    },
    "ThinksItIsText": {
        "test_bytes_go_through_unchanged",
        "test_output_and_input_at_once",
        "test_output_that_is_no_text",
    },
    # files
    "WritesInPlace": {
        "test_a_reader_keeps_the_file_it_opened",
        "test_a_link_is_replaced",
        "test_the_mode_by_default",
    },
    "IgnoresTheMode": {"test_the_mode"},
    "BelievesArchives": {
        "test_nothing_leaves_its_folder",
        "test_a_link_that_is_there_is_not_written_through",
        "test_a_folder_is_no_file_and_a_file_no_folder",
    },
    # backends
    "ForgetsALabel": {
        "test_it_is_found_by_its_labels",
        "test_what_is_being_made_is_found_by_all_its_labels",
        # whatever looks for what is there
        "test_removing_again_does_nothing",
        "test_several_at_once_do_not_disturb_each_other",
        "test_what_was_found_can_be_attached_to",
    },
    "FindsTooMuch": {"test_other_labels_find_nothing"},
    "LabelsLate": {"test_what_is_being_made_is_found_by_all_its_labels"},
    "NamesItself": {
        "test_a_machine_works_and_is_called_as_decided",
        "test_several_at_once_do_not_disturb_each_other",
        "test_what_is_being_made_is_found_by_all_its_labels",
    },
    "LeavesWhatWasCancelled": {
        "test_a_cancelled_making_leaves_nothing",
        "test_cancelling_a_making_again_and_again_leaves_nothing",
    },
    "ComplainsOfTheGone": {
        "test_a_cancelled_removal_can_be_finished",
        "test_removing_again_does_nothing",
    },
    "AttachesToTheGone": {
        "test_it_is_removed_by_its_reference",
        "test_what_is_gone_cannot_be_attached_to",
    },
    "RemovesTheNameOnly": {"test_it_is_removed_by_its_reference"},
    "TakesAllAlong": {"test_closing_leaves_the_machines"},
    "SharesWhatItMade": {"test_a_reference_is_json", "test_another_program_attaches"},
    "UnderstandsAnything": {
        "test_an_image_of_another_backend",
        "test_hosts_that_it_refuses",
        "test_text_that_is_no_image",
    },
    "Sound": set(),
}


@pytest.mark.timeout(inner_pytest.HANGS)
def test_what_is_broken_is_caught(tmp_path):
    """All suites, side by side: most of the time they wait. In one test, lest they run twice."""
    side_by_side = ("-p", "xdist", "--numprocesses", "3", "--dist", "loadscope")
    ran = inner_pytest.run(tmp_path, *side_by_side, BROKEN)
    assert {name.removeprefix("Test") for name in ran.suites} == {*CAUGHT}, ran.output
    assert {defect: ran.bad(f"Test{defect}") for defect in CAUGHT} == CAUGHT
