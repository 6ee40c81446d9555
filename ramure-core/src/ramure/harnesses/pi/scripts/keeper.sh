# Ends what is left of an agent once the program that owns the run has ended and the lease is over:
# pi, where it hangs and does not end by itself, as the bridge would have it; and the tmux server,
# which nobody else ends then. It waits without starting anything but a sleep, and outlives pi and its
# terminal: end.sh ends it.
#
# Arguments: the agent's mark; the program's "pid:start" (start as in /proc/PID/stat, "" where there
# is none); the seconds to go on without it.
mark=$1
pid=${2%%:*}
start=${2#*:}
lease=$3
socket=${TMUX%%,*}
server=${TMUX#*,}
server=${server%%,*}

alive() {
  [ -n "$start" ] || { kill -0 "$pid" 2>/dev/null; return; }
  read -r stat <"/proc/$pid/stat" || return 1
  set -- ${stat##*) }
  [ "$1" != Z ] && [ "$1" != X ] && [ "${20}" = "$start" ]
} 2>/dev/null

trap '' HUP
trap 'kill "$nap"; exit' TERM

gone=0
until [ "$gone" -gt "$lease" ]; do
  sleep 2 &
  nap=$!
  wait "$nap"
  if alive; then gone=0; else gone=$((gone + 2)); fi
done
# Another agent's keeper may have been first.
if [ -S "$socket" ]; then
  kill "$server"
  rm -f "$socket"
fi
rm -f keeper
exec sh ./end.sh "$mark" 0
