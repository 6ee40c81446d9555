# Ends pi when the program that owns the run has ended and pi does not end by itself, as the bridge
# would have it: where pi hangs. It waits without starting anything but a sleep.
#
# Arguments: the launcher's pid; the agent's mark; the program's "pid:start" (start as in
# /proc/PID/stat, "" where there is none); the seconds to go on without it.
launcher=$1
mark=$2
pid=${3%%:*}
start=${3#*:}
lease=$4

alive() {
  [ -n "$start" ] || { kill -0 "$pid" 2>/dev/null; return; }
  read -r stat <"/proc/$pid/stat" || return 1
  set -- ${stat##*) }
  [ "$1" != Z ] && [ "$1" != X ] && [ "${20}" = "$start" ]
} 2>/dev/null

gone=0
while sleep 5 && kill -0 "$launcher" 2>/dev/null; do
  if alive; then gone=0; else gone=$((gone + 5)); fi
  if [ "$gone" -gt "$lease" ]; then
    trap '' HUP
    # TMUX is "socket,pid,session": without its program nobody ends the tmux server, either.
    server=${TMUX#*,}
    kill "${server%%,*}"
    rm -f "${TMUX%%,*}"
    kill -9 "$launcher"
    exec sh ./end.sh "$mark" 0
  fi
done
