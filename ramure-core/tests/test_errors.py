"""What errors say to people."""

from ramure import AgentDied


def test_an_agents_last_screen_shows_what_was_said_last():
    said = [f"line {number}" for number in range(30)]
    screen = "\n".join(
        [*said[:20], "", "   ", "", *said[20:], *[""] * 30, "Pane is dead (status 1)"]
    )
    *head, shown = str(AgentDied("it ended", agent="w", screen=screen)).partition("screen:\n")
    assert head[0] == "agent 'w': it ended\nIts last "
    assert shown.splitlines() == [
        *(f"  | {line}" for line in said[7:20]),
        "  |",
        *(f"  | {line}" for line in said[20:]),
    ]


def test_a_screen_on_which_nothing_was_said_is_left_out():
    assert (
        str(AgentDied("it ended", screen="\n\nPane is dead (signal 9, Sun Nov 1)\n")) == "it ended"
    )
