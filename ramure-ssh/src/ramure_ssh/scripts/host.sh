# What ramure has a host do, in POSIX sh. Sent with each use; every function gets what it needs as
# arguments. A machine is a folder of ours, and NAME.json beside it while there is anything of it.
LC_ALL=C; export LC_ALL
umask 077

# The folder of all machines, short enough for the sockets in it; sets $base.
find_base() {
  base=$HOME/.ramure/machines
  if [ ${#base} -gt 44 ]; then base=/tmp/.ramure-$(id -u)/machines; fi
}

# Run what follows the name of a user as that user.
become() {
  who=$1; shift
  if [ "$(id -u)" = 0 ] && command -v runuser >/dev/null; then runuser -u "$who" -- "$@"
  else sudo -n -H -u "$who" -- "$@"
  fi
}

# Call a function as user $1, with the arguments that follow it; as ourselves where there is none,
# and where we are root, to whom all is allowed.
as() {
  who=$1; shift
  if [ -z "$who" ] || [ "$(id -u)" = 0 ]; then "$@"
  else become "$who" sh -c 'host_sh=$1; eval "$1"; shift; borrowed=1; "$@"' ramure "$host_sh" "$@"
  fi
}

# Whether process $1 runs, whosever it is.
runs() { kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ] || ps -p "$1" >/dev/null 2>&1; }

# A moment.
pause() { sleep 0.1 2>/dev/null || sleep 1; }

# The processes that carry mark $1, and those that descend from them, or from process $2 or its
# group. Sets $found, and $fresh: "new" where some of them are not among $3, or "runs" where some of
# those still run.
look() {
  found=; fresh=
  if [ -r /proc/self/environ ]; then
    for file in $(grep -lsF -e "$1" /proc/[0-9]*/environ 2>/dev/null); do
      file=${file#/proc/}; found="$found ${file%/environ}"
    done
  else
    found=$(ps -A -E -ww -o pid= -o command= 2>/dev/null | grep -F -e "$1" | grep -v grep |
      awk '{ print $1 }')
  fi
  [ -n "$found$2" ] || return 0
  found="$found $2"
  all=$(ps -A -o pid= -o ppid= -o pgid= -o stat= 2>/dev/null) && [ -n "$all" ] || return 0
  found=$(echo "$all" | awk -v roots="$found" -v group="$2" -v known="$3" '
    BEGIN {
      n = split(roots, list, " "); for (i = 1; i <= n; i++) tree[list[i]] = 1
      n = split(known, list, " "); for (i = 1; i <= n; i++) old[list[i]] = 1
    }
    $4 ~ /^[RSI]/ { runs[$1] = 1 }
    $4 !~ /Z/ { parent[$1] = $2; if (group != "" && $3 == group) tree[$1] = 1 }
    END {
      do { more = 0; for (p in parent) if (!(p in tree) && (parent[p] in tree)) tree[p] = more = 1 }
      while (more)
      for (p in parent) if (p in tree) {
        print p
        if (!(p in old)) fresh = "+"
        else if ((p in runs) && !fresh) fresh = "~"
      }
      print fresh
    }')
  case $found in
  *+) fresh=new; found=${found%+} ;;
  *~) fresh=runs; found=${found%"~"} ;;
  esac
}

# Kill all that carries mark $1, and all of process $2; fails where something is left.
slay() {
  rm -f /tmp/.ramure-*"$1"* # what was to be started
  clean=0; rounds=0; waits=0; root=$2; stopped=
  while [ $clean -lt 2 ]; do
    [ $rounds -lt 200 ] || return 1
    rounds=$((rounds + 1))
    look "$1" "$root" "$stopped"
    # Somebody else's never hears that it is to stop.
    [ "$fresh" != runs ] || { waits=$((waits + 1)); [ $waits -le 20 ] || fresh=; }
    if [ -z "$found" ]; then clean=$((clean + 1)); root=
    # First all are stopped, whatever they fork meanwhile, too: whose parent is gone would not be
    # found. Who is amid a fork ends that first, and runs until then. A sudo would stop with its
    # command, for ever.
    elif [ -n "$fresh" ] && [ $rounds -lt 100 ] && [ -z "$borrowed" ]; then
      clean=0; stopped=$found
      kill -STOP $found 2>/dev/null
      continue
    else
      clean=0; stopped=; root=
      kill -9 $found 2>/dev/null
    fi
    [ $clean -ge 2 ] || sleep 0.02 2>/dev/null || sleep 1
  done
}

# Kill all that carries mark $2, and all of process $3; as user $4, if it is another's. Without a
# process, what is to carry the mark may be about to begin: it looks for a file in the machine's
# folder $1 at the last moment. What makes us another user is a process of root's, which ends by itself.
stop() {
  root=$3; tries=0
  if [ -z "$root" ] && [ -d "$1" ]; then : >"$1/no-$2"; rm -f "$1/start-$2"; fi
  [ -z "$4" ] || read -r left root who 2>/dev/null <"$1/due-$2"
  first=$root
  if [ -z "$3" ]; then as "$4" slay "$2" "$first"; pause; fi
  as "$4" slay "$2" "$first"
  while [ -n "$4" ] && [ -n "$first" ] && runs "$first" && [ $tries -lt 20 ]; do
    tries=$((tries + 1)); pause
    as "$4" slay "$2" "$first"
  done
}

# Send signal $1 to the process group of process $2; of user $3, if it is another's: what made us that
# user is not meant.
send() {
  if [ -z "$3" ]; then kill "-$1" "-$2"
  else
    group=$(ps -A -o pid= -o pgid= | awk -v pid="$2" '$1 == pid { print $2 }')
    [ -z "$group" ] || become "$3" sh -c 'kill "-$0" "-$1"' "$1" "$group"
  fi 2>/dev/null
}

# Remove the machine in folder $1, whose mark is $2; the watch over it, too, unless that is us.
remove() {
  read -r watch 2>/dev/null <"$1/watch" && [ "$watch" != "$RAMURE_WATCH" ] && slay "RAMURE_WATCH=$watch"
  [ ! -d "$1" ] || echo >"$1/ending"
  for file in "$1"/as-*; do
    [ ! -e "$file" ] || as "${file##*/as-}" slay "$2" 2>/dev/null
  done
  slay "$2" || { echo 'some of its processes could not be killed' >&2; return 1; }
  rm -rf "$1" || return 1
  rm -f "$1.json"
  rmdir "${1%/*}" 2>/dev/null && rmdir "${1%/*/*}" 2>/dev/null
  return 0
}

# Watch over the machine in folder $1, whose mark is $2: where its program says nothing for $3
# seconds, remove it; and keep the deadlines of commands: files with the seconds that are left (-: any
# number), the process, and its user. Looks every $4 seconds.
watch() {
  quiet=0
  while sleep "$4" && [ -d "$1" ]; do
    if [ -e "$1/alive" ]; then rm -f "$1/alive"; quiet=0; else quiet=$((quiet + $4)); fi
    # What has begun to go has to go, though it does not go at once.
    if [ $quiet -ge "$3" ] || [ -e "$1/ending" ]; then remove "$1" "$2" && return; fi
    for file in "$1"/due-*; do
      [ -e "$file" ] || continue
      read -r left pid user <"$file" && [ -n "$pid" ] || continue
      if ! runs "$pid"; then rm -f "$file"
      elif [ "$left" = - ]; then continue
      elif [ $((left - $4)) -gt 0 ]; then echo "$((left - $4)) $pid $user" >"$file"
      else stop "$1" "${file##*/due-}" "$pid" "$user" & rm -f "$file"
      fi
    done
  done
}

# Make machine $1: mark $2, lease $3, interval $4, working directory $5, what is written
# of it $6, the watch's own mark $7.
make() {
  find_base
  case $5 in '' | '~') workdir=$HOME ;; '~/'*) workdir=$HOME/${5#??} ;; /*) workdir=$5 ;; *) workdir=$HOME/$5 ;; esac
  cd "$workdir" 2>/dev/null || { echo "there is no folder $workdir" >&2; exit 1; }
  mkdir -p "$base" || exit 1
  [ -O "$base" ] || { echo "$base belongs to somebody else" >&2; exit 1; }
  chmod 700 "$base" "${base%/*}" || exit 1
  folder=$base/$1
  [ ! -e "$folder.json" ] || { echo 'there is one of this name' >&2; exit 1; }
  set -C
  echo "$6" >"$folder.json" || exit 1
  set +C
  mkdir "$folder" || exit 1
  : >"$folder/alive"
  echo "$7" >"$folder/watch"
  # HUP is ignored, and nothing of the session is held.
  (cd / && host_sh=$host_sh RAMURE_WATCH=$7 nohup sh -c 'eval "$host_sh"; watch "$@"' ramure "$folder" "$2" "$3" "$4" \
    </dev/null >/dev/null 2>&1 &)
  echo "$folder"
  about >"$folder/about" && cat "$folder/about"
}

# A machine's home, working directory, shell, and what makes another user of ours: a line each.
about() {
  echo "$HOME"
  pwd
  command -v bash || echo sh
  if [ "$(id -u)" = 0 ] && command -v runuser >/dev/null; then echo runuser; else echo sudo; fi
}

# What is written of every machine: its folder, what its maker wrote, and what it is about. The
# lines of the last are empty while it is being made or removed.
list() {
  find_base
  for file in "$base"/*.json; do
    [ -e "$file" ] || continue
    text= home= workdir= shell= become=
    IFS= read -r text 2>/dev/null <"$file"
    { IFS= read -r home; IFS= read -r workdir; IFS= read -r shell; IFS= read -r become; } \
      2>/dev/null <"${file%.json}/about"
    printf '%s\n' "${file%.json}" "$text" "$home" "$workdir" "$shell" "$become"
  done
}

# Serve a program for as long as it is connected; it says one thing a line.
serve() {
  find_base
  echo ready
  while read -r verb one two three four five; do
    case $verb in
      alive) if [ -d "$base/$one" ] && [ ! -e "$base/$one/ending" ]; then : >"$base/$one/alive"; else echo "gone $one"; fi ;;
      kill) echo "heard $one"; (stop "$base/$two" "$three" "${four#-}" "$five"; echo "done $one") & ;;
      remove) (said=$(remove "$base/$two" "$three" 2>&1); echo "done $one" $said) & ;;
      signal) send "$one" "$two" "$three" & ;;
    esac
  done
}

# What a doctor would say of this host, in words.
doctor() {
  kills=$(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
    org.freedesktop.login1.Manager KillUserProcesses 2>/dev/null)
  [ "$kills" != 'b true' ] || echo kills
}
