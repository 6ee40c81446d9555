"""The ``ramure`` command.

app.py         the commands, put together; plugins' commands; errors to exit codes
look.py        ls, status
talk.py        send, call, stop
terminals.py   connect, ssh
logs.py        logs
health.py      doctor, gc
plugins.py     plugins, plugins new
scaffold.py    the package of a new plugin
demo.py        demo
runs.py        which runs there are, and which one is meant
farewell.py    what became of a run that was watched
client.py      the client of a run's control socket
pty.py         this terminal, joined to one that a run serves
output.py      what is printed

It starts fast: each command imports what it needs when it runs.
"""
