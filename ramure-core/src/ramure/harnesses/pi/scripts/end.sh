# Ends all that carries an agent's mark in its environment, whatever session it is in, and the agent's
# keeper, where there is one.
#
# Arguments: the mark; tenths of a second to wait for an end by itself before it is killed.
mark=RAMURE_AGENT=$1
patience=$2

marked() {
  if [ -r /proc/self/environ ]; then
    # Not -a, which busybox does not know.
    LC_ALL=C grep -lszFx -e "$mark" /proc/[0-9]*/environ | cut -d/ -f3
  else
    ps -axwwE -o pid= -o command= | awk -v mark=" $mark " 'index($0 " ", mark) && !/awk/ {print $1}'
  fi
}

# Last: pi makes its folder anew while it lives.
forget() {
  if [ -r keys ]; then
    read -r folder <keys
    rm -rf "$folder" keys
  fi
}

keeper() {
  if [ -r /proc/self/environ ]; then
    grep -qs keeper.sh "/proc/$1/cmdline"
  else
    ps -o command= -p "$1" | grep -q keeper.sh
  fi
}

cd "${0%/*}" || exit 1
# Only the keeper itself: somebody else may have its number by now.
if [ -r keeper ] && read -r pid <keeper && keeper "$pid"; then
  kill "$pid"
fi
rm -f keeper
tries=0
while pids=$(marked) && [ -n "$pids" ]; do
  [ "$tries" -lt "$patience" ] || kill -9 $pids 2>/dev/null
  [ "$tries" -lt 60 ] || {
    forget
    exit 1
  }
  tries=$((tries + 1))
  sleep 0.1
done
forget
