# The container's own program: the dead man's switch. $1 the machine's folder, $2 seconds between two
# looks at the lease, $3 looks without a sign of life after which all ends, and so the container,
# $4 "held": whoever holds the input lives; "beat": each line of it is a sign of life. $5 what says, run
# by a shell, which platform this is.
trap 'exit 0' TERM INT HUP
umask 077
mkdir -p "$1" && echo alive >"$1/lease" || exit 1
exec 3<&0 </dev/null
if [ "$4" = held ]; then
  (
    (while echo alive >"$1/lease"; do sleep "$2"; done) &
    while read -r _; do :; done
    kill $!
  ) <&3 3<&- &
else
  (while read -r _; do echo alive >"$1/lease"; done) <&3 3<&- &
fi
exec 3<&-
echo "workdir $(pwd)"
for program in bash node; do
  path=$(command -v "$program") && echo "$program $path"
done
sets=
for mark in /opt/ramure/*/.ramure-complete; do
  [ -e "$mark" ] && mark=${mark%/*} && sets="$sets ${mark##*/}"
done
[ -z "$sets" ] || echo platform $(sh -c "$5")
echo "sets $sets"
echo ready
cd /
left=$3
while [ "$left" -gt 0 ]; do
  sleep "$2" &
  wait $!
  if [ -s "$1/lease" ]; then
    : >"$1/lease"
    left=$3
  else
    left=$((left - 1))
  fi
done
