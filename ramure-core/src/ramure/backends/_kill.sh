# Kills a command with all that it started. $1 the mark in their environment; $2 the command's number
# where it still runs: what cleared its environment is found as its descendant, in its group or session.
# All is stopped before anything is killed, until a look finds nothing new: what was forked behind a
# look's back is still found as the child of a parent that is there. Who is told to stop amid a fork ends
# that first: so the next look waits until all have stopped. The command's group first, at one
# blow: thousands that run would leave no time to look.
# There may be thousands: `known_NUMBER` is set for each one found, and no loop reads a file.
# Says "left" where something could not be killed.
LC_ALL=C
export LC_ALL
set -f
mark=$1 root=$2 clean=0 looks=0 waits=0 frozen= newline='
'
find() { eval "known_$1=1"; fresh="$fresh $1"; }
marked() { set +f; grep -lsF -- "$mark" /proc/[0-9]*/environ 2>/dev/null; }
processes() { set +f; grep -hs . /proc/[0-9]*/stat 2>/dev/null; }
# Of these, the threads that run, or sleep and have yet to hear of a signal. Somebody else's do not hear.
running() {
  threads=
  for pid; do kill -0 "$pid" 2>/dev/null && threads="$threads /proc/$pid/task/[0-9]*/stat"; done
  [ -n "$threads" ] || return 0
  set +f
  grep -hs ') [RS] [0-9-][0-9 -]*$' $threads
}
[ -z "$root" ] || kill -STOP "-$root" 2>/dev/null
while [ $clean -lt 2 ]; do
  looks=$((looks + 1))
  [ $looks -lt 60 ] || { kill -9 $frozen 2>/dev/null; echo left; exit; }
  [ $looks -lt 10 ] || sleep 0.1 2>/dev/null
  fresh= others=
  for file in $(marked); do
    pid=${file#/proc/} pid=${pid%/environ}
    eval "known=\$known_$pid"
    [ -n "$known" ] || find "$pid"
  done
  IFS=$newline
  set -- $(processes)
  unset IFS
  for line; do
    pid=${line%% *}
    case $pid in *[!0-9]*) continue ;; esac # the second line of a program's name
    eval "known=\$known_$pid"
    [ -z "$known" ] || continue
    # Of the rest: state, parent, group, session, …
    set -- ${line##*) }
    case $1 in [ZX]) continue ;; esac
    case $root in
    "$pid" | "$3" | "$4") find "$pid" ;;
    *) others="$others $pid:$2" ;;
    esac
  done
  more=1
  while [ -n "$more" ]; do
    more= entries=$others others=
    for entry in $entries; do
      eval "known=\$known_${entry#*:}"
      if [ -n "$known" ]; then
        find "${entry%%:*}"
        more=1
      else
        others="$others $entry"
      fi
    done
  done
  if [ -n "$fresh" ]; then
    kill -STOP $fresh 2>/dev/null
    frozen="$frozen $fresh"
    while [ $waits -lt 100 ] && [ -n "$(running $fresh)" ]; do
      waits=$((waits + 1))
      sleep 0.01 2>/dev/null
    done
    continue
  fi
  root=
  if [ -z "$frozen" ]; then
    clean=$((clean + 1))
  else
    clean=0
    kill -9 $frozen 2>/dev/null
    for pid in $frozen; do eval "known_$pid="; done
    frozen=
  fi
done
