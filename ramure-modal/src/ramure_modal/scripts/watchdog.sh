# The sandbox's own program: ends, and so ends the sandbox, once nobody renews the lease.
# $1 the file that is renewed, $2 seconds. Counts for itself: no clock, no time of a file.
umask 077
mkdir -p "${1%/*}"
last='' idle=0
while [ "$idle" -lt "$2" ]; do
  sleep 1
  beat=''
  [ ! -r "$1" ] || read -r beat <"$1"
  if [ "$beat" = "$last" ]; then
    idle=$((idle + 1))
  else
    last=$beat idle=0
  fi
done
