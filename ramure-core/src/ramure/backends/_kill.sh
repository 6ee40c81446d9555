# Kills a command with all that it started. $1 the mark in their environment; $2 the command's number
# where it still runs: what cleared its environment is found as its descendant or in its session.
# All is stopped before anything is killed, until a look finds nothing new: what was forked behind a
# look's back is still found as the child of a parent that is there.
# Says "left" where something could not be killed.
LC_ALL=C
export LC_ALL
mark=$1 root=$2 clean=0 looks=0 frozen=" "
while [ $clean -lt 2 ]; do
  looks=$((looks + 1))
  [ $looks -lt 60 ] || { kill -9 $frozen 2>/dev/null; echo left; exit; }
  [ $looks -lt 10 ] || sleep 0.1 2>/dev/null
  found=$frozen
  for file in $(grep -lsF -- "$mark" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${file#/proc/}
    pid=${pid%/environ}
    case $found in *" $pid "*) ;; *) found="$found$pid " ;; esac
  done
  processes=
  for file in /proc/[0-9]*/stat; do
    read -r line <"$file" || continue
    pid=${line%% *} line=${line##*) }
    # Of the rest: state, parent, group, session, …
    set -- $line
    case $1 in [ZX]) continue ;; esac
    processes="$processes $pid:$2"
    if [ -n "$root" ] && { [ "$pid" = "$root" ] || [ "$4" = "$root" ]; }; then
      case $found in *" $pid "*) ;; *) found="$found$pid " ;; esac
    fi
  done 2>/dev/null
  more=1
  while [ -n "$more" ]; do
    more=
    for entry in $processes; do
      case $found in
      *" ${entry%%:*} "*) ;;
      *" ${entry#*:} "*) found="$found${entry%%:*} " more=1 ;;
      esac
    done
  done
  fresh=
  for pid in $found; do
    case $frozen in *" $pid "*) ;; *) fresh="$fresh $pid" ;; esac
  done
  if [ -n "$fresh" ]; then
    kill -STOP $fresh 2>/dev/null
    frozen=$found
    continue
  fi
  root=
  if [ "$frozen" = " " ]; then
    clean=$((clean + 1))
  else
    clean=0
    kill -9 $frozen 2>/dev/null
    frozen=" "
  fi
done
