# What ramure has a host do, in POSIX sh. Sent with each use; every function gets what it needs as
# arguments. A machine is a folder of ours, and NAME.json beside it while there is anything of it.
LC_ALL=C; export LC_ALL
umask 077

# The folder of all machines, short enough for the sockets in it; sets $base.
find_base() {
  base=$HOME/.ramure/machines
  if [ ${#base} -gt 44 ]; then base=/tmp/.ramure-$(id -u)/machines; fi
}

# The processes that carry mark $1, and those that descend from them, or from process $2 or its
# group. Sets $found.
look() {
  found=
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
  found=$(echo "$all" | awk -v roots="$found" -v group="$2" '
    BEGIN { n = split(roots, list, " "); for (i = 1; i <= n; i++) tree[list[i]] = 1 }
    $4 !~ /Z/ { parent[$1] = $2; if (group != "" && $3 == group) tree[$1] = 1 }
    END {
      do { more = 0; for (p in parent) if (!(p in tree) && (parent[p] in tree)) tree[p] = more = 1 }
      while (more)
      for (p in parent) if (p in tree) print p
    }')
}

# Kill all that carries mark $1, and all of process $2; fails where something is left.
slay() {
  clean=0; rounds=0; root=$2
  while [ $clean -lt 2 ]; do
    [ $rounds -lt 200 ] || return 1
    rounds=$((rounds + 1))
    look "$1" "$root"
    root=
    if [ -n "$found" ]; then
      clean=0
      kill -STOP $found 2>/dev/null # none of them is to see another's end
      kill -9 $found 2>/dev/null
    else clean=$((clean + 1))
    fi
    [ $clean -ge 2 ] || sleep 0.02 2>/dev/null || sleep 1
  done
}

# Kill all that carries mark $2, and all of process $3. Without one, what is to carry the mark may be
# about to begin: it looks for a file in the machine's folder $1 at the last moment.
stop() {
  if [ -z "$3" ] && [ -d "$1" ]; then : >"$1/no-$2"; slay "$2"; sleep 0.1 2>/dev/null || sleep 1; fi
  slay "$2" "$3"
}

# Remove the machine in folder $1, whose mark is $2; the watch over it, too, unless that is us.
remove() {
  read -r watch 2>/dev/null <"$1/watch" && [ "$watch" != "$RAMURE_WATCH" ] && slay "RAMURE_WATCH=$watch"
  [ ! -d "$1" ] || echo >"$1/ending"
  for file in "$1"/as-*; do
    [ -e "$file" ] && [ "$(id -u)" != 0 ] || continue
    sudo -n -u "${file##*/as-}" -- sh -c "$host_sh
slay $2" 2>/dev/null
  done
  slay "$2" || { echo 'some of its processes could not be killed' >&2; return 1; }
  rm -rf "$1" || return 1
  rm -f "$1.json"
  rmdir "${1%/*}" 2>/dev/null && rmdir "${1%/*/*}" 2>/dev/null
  return 0
}

# Watch over the machine in folder $1, whose mark is $2: where its program says nothing for $3
# seconds, remove it; and keep commands' deadlines. Looks every $4 seconds.
watch() {
  quiet=0
  while sleep "$4" && [ -d "$1" ]; do
    if [ -e "$1/alive" ]; then rm -f "$1/alive"; quiet=0; else quiet=$((quiet + $4)); fi
    if [ $quiet -ge "$3" ]; then remove "$1" "$2"; return; fi
    for file in "$1"/due-*; do
      [ -e "$file" ] || continue
      read -r left pid <"$file" && [ -n "$pid" ] || continue
      left=$((left - $4))
      if ! kill -0 "$pid" 2>/dev/null; then rm -f "$file"
      elif [ $left -gt 0 ]; then echo "$left $pid" >"$file"
      else rm -f "$file"; slay "${file##*/due-}" "$pid"
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
  set -C
  echo "$6" 2>/dev/null >"$folder.json" || { echo 'there is one of this name' >&2; exit 1; }
  set +C
  mkdir "$folder" || exit 1
  : >"$folder/alive"
  echo "$7" >"$folder/watch"
  # HUP is ignored, and nothing of the session is held.
  (cd / && host_sh=$host_sh RAMURE_WATCH=$7 nohup sh -c 'eval "$host_sh"; watch "$@"' ramure "$folder" "$2" "$3" "$4" \
    </dev/null >/dev/null 2>&1 &)
  echo "$folder"
  echo "$HOME"
  pwd
  command -v bash || echo sh
  if [ "$(id -u)" = 0 ] && command -v runuser >/dev/null; then echo runuser; else echo sudo; fi
}

# What is written of every machine.
list() {
  find_base
  for file in "$base"/*.json; do
    [ -e "$file" ] || continue
    read -r text <"$file"
    printf '%s\n' "${file%.json}" "$text"
  done
}

# Serve a program for as long as it is connected; it says one thing a line.
serve() {
  find_base
  echo ready
  while read -r verb one two three four; do
    case $verb in
      alive) if [ -d "$base/$one" ]; then : >"$base/$one/alive"; else echo "gone $one"; fi ;;
      kill) (stop "$base/$two" "$three" "$four"; echo "killed $one") & ;;
      signal) kill "-$one" "-$two" 2>/dev/null ;;
    esac
  done
}

# What a doctor would say of this host, in words.
doctor() {
  kills=$(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
    org.freedesktop.login1.Manager KillUserProcesses 2>/dev/null)
  [ "$kills" != 'b true' ] || echo kills
}
