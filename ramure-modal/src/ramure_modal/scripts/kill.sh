# Kills a command with all that it started. $1 the mark that they carry in their environment; $2 the
# command's number while it runs: what cleared its environment descends from it or is in its session.
LC_ALL=C
export LC_ALL
mark=$1 root=$2 clean=0 tries=0
while [ "$clean" -lt 2 ] && [ "$tries" -lt 100 ]; do
  tries=$((tries + 1))
  doomed=' ' all=''
  for file in $(grep -lsF -- "$mark" /proc/[0-9]*/environ 2>/dev/null); do
    file=${file#/proc/}
    doomed="$doomed${file%/*} "
  done
  for file in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$file" || continue
    pid=${line%% *}
    set -- ${line##*) }
    # state, parent, group, session
    case $1 in Z | X) continue ;; esac
    all="$all $pid/$2"
    [ -z "$root" ] || { [ "$pid" != "$root" ] && [ "$4" != "$root" ]; } || doomed="$doomed$pid "
  done 2>/dev/null
  grown=1
  while [ -n "$grown" ]; do
    grown=
    for pair in $all; do
      case $doomed in
      *" ${pair%/*} "*) ;;
      *" ${pair#*/} "*) doomed="$doomed${pair%/*} " grown=1 ;;
      esac
    done
  done
  hit=
  for pair in $all; do
    case $doomed in *" ${pair%/*} "*) hit="$hit ${pair%/*}" ;; esac
  done
  if [ -n "$hit" ]; then
    clean=0
    kill -9 $hit 2>/dev/null
  else
    clean=$((clean + 1))
  fi
  root=
done
