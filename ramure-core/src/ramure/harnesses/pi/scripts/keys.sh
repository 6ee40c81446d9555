# Read by what prepares an agent's state folder: pi's own folder, and what a former start left of one.
# Its name is $name, in memory where there is room for that, and then it is written to "keys".
if [ -r keys ]; then
  read -r folder <keys
  rm -rf "$folder" keys
fi

in_memory() {
  case $1 in
    '' | *[!A-Za-z0-9/_.-]*) return 1 ;;
  esac
  [ -w "$1" ] && [ -r /proc/mounts ] || return 1
  while read -r _ where kind _; do
    [ "$where $kind" != "$1 tmpfs" ] || return 0
  done </proc/mounts
  return 1
}

make_folder() {
  for base in "${XDG_RUNTIME_DIR-}" /dev/shm; do
    folder=$base/$name
    # Written before it is made, so that it is found whatever happens next.
    if in_memory "$base" && echo "$folder" >keys && mkdir -m 700 "$folder" 2>/dev/null; then
      return
    fi
  done
  folder=$PWD/pi
  echo "$folder" >keys
  mkdir -m 700 "$folder"
}
