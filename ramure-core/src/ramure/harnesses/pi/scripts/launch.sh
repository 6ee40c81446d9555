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
if [ -r keys ]; then
  read -r folder <keys
  export PI_CODING_AGENT_DIR="$folder"
  # Outlives whoever ends all of this at once: without a mark, in a session of its own, it waits for
  # the launcher's end.
  (
    # shellcheck disable=SC2046  # nothing where there is none
    env -i PATH="$PATH" $(command -v setsid) sh -c 'trap "" HUP; cat >/dev/null; rm -rf "$0"' \
      "$folder" <alive 9>&- >/dev/null 2>&1 &
  )
fi
state=$PWD
work=$WORK
# Node and jiti keep what they compile in the temporary folder: not in the person's, at least. The
# bridge puts the variable back before pi does anything else.
export RAMURE_TMPDIR="${TMPDIR-}" TMPDIR="$CACHE"
mkdir -p "$TMPDIR"
# A tmux that was brought here has a locale of its own.
if [ -n "${RAMURE_LOCPATH+brought}" ]; then
  LOCPATH=$RAMURE_LOCPATH
  [ -n "$LOCPATH" ] || unset LOCPATH
  unset RAMURE_LOCPATH
fi
unset TMUX TMUX_PANE KEEP LEASE WORK CACHE
if cd "$work"; then
  "$@" 9>&-
  code=$?
else
  code=1
fi
echo "$code" >"$state/exit"
exit "$code"
