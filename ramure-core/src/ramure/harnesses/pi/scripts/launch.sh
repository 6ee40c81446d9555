# What an agent's pane runs; its working directory is the agent's state folder, its arguments are pi's
# command. How pi ended is written to the file "exit".
#
# Its variables begin with RAMURE_: all others are pi's, whatever they are called. What the program
# wants them to be comes last, so that it is pi that it concerns and nothing that is started here.
umask 077
exec 9<>alive
: >started
. ./settings
RAMURE_STATE=$PWD
RAMURE_ENVIRONMENT=$(cat ./environment)
rm -f ./environment
if [ -n "$RAMURE_KEEP" ]; then
  env -u RAMURE_AGENT \
    sh ./keeper.sh "$RAMURE_AGENT" "$RAMURE_KEEP" "$RAMURE_LEASE" 9>&- >/dev/null 2>&1 &
  echo "$!" >keeper
fi
mkdir -p "$RAMURE_CACHE"
RAMURE_FOLDER=
if [ -r keys ]; then
  read -r RAMURE_FOLDER <keys
  # Outlives whoever ends all of this at once: without a mark, in a session of its own, it waits for
  # the launcher's end.
  (
    # shellcheck disable=SC2046  # nothing where there is none
    env -i PATH="$PATH" $(command -v setsid) sh -c 'trap "" HUP; cat >/dev/null; rm -rf "$0"' \
      "$RAMURE_FOLDER" <alive 9>&- >/dev/null 2>&1 &
  )
fi
# A tmux that was brought here has a locale of its own.
if [ -n "${RAMURE_LOCPATH+brought}" ]; then
  LOCPATH=$RAMURE_LOCPATH
  [ -n "$LOCPATH" ] || unset LOCPATH
  unset RAMURE_LOCPATH
fi
unset TMUX TMUX_PANE
# A shell that has a variable of this name for itself (bash: UID, RANDOM, …) refuses the value, or ends
# over it, or makes another of it: tried where it does no harm. pi's bridge gives such a one its name.
give() {
  if (export "$1=$2" && eval "[ \"\$$1\" = \"\$2\" ]") 2>/dev/null; then
    export "$1=$2"
  else
    export "RAMURE_AS_$1=$2"
  fi
}
(
  cd "$RAMURE_WORK" || exit 1
  eval "$RAMURE_ENVIRONMENT"
  [ -z "$RAMURE_FOLDER" ] || export PI_CODING_AGENT_DIR="$RAMURE_FOLDER"
  # Node and jiti keep what they compile in the temporary folder: not in the person's, at least. The
  # bridge puts the variable back before pi does anything else.
  export RAMURE_TMPDIR="${TMPDIR-}" TMPDIR="$RAMURE_CACHE"
  unset RAMURE_ENVIRONMENT RAMURE_FOLDER RAMURE_CACHE RAMURE_WORK RAMURE_KEEP RAMURE_LEASE
  unset RAMURE_STATE
  exec "$@" 9>&-
)
RAMURE_CODE=$?
echo "$RAMURE_CODE" >"$RAMURE_STATE/exit"
exit "$RAMURE_CODE"
