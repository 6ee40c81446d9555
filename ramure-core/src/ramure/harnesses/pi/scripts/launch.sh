# What an agent's pane runs; its working directory is the agent's state folder, its arguments are pi's
# command. How pi ended is written to the file "exit".
umask 077
exec 9<>alive
: >started
. ./settings
rm -f ./settings
if [ -n "$KEEP" ]; then
  env -u RAMURE_AGENT sh ./keeper.sh "$RAMURE_AGENT" "$KEEP" "$LEASE" 9>&- >/dev/null 2>&1 &
  echo "$!" >keeper
fi
state=$PWD
work=$WORK
# Node and jiti keep what they compile in the temporary folder: not in the person's, at least. The
# bridge puts the variable back before pi does anything else.
export RAMURE_TMPDIR="${TMPDIR-}" TMPDIR="$CACHE"
mkdir -p "$TMPDIR"
unset TMUX TMUX_PANE KEEP LEASE WORK CACHE
if cd "$work"; then
  "$@" 9>&-
  code=$?
else
  code=1
fi
echo "$code" >"$state/exit"
exit "$code"
