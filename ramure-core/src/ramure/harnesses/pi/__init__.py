"""The pi coding agent, in tmux."""
