# The sandbox's own program: ends, and so ends the sandbox, once nobody renews the lease. Until then it
# kills what is due and has not been told so, as nobody could reach the sandbox.
# $1 the file that is renewed, $2 seconds, $3 the script that kills by mark and number. Beside $1 is
# a folder with a file for each deadline, named by the command's mark: seconds left, and its number.
# Counts for itself: no clock, no time of a file.
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
  for file in "$1.due"/*; do
    [ -e "$file" ] || continue
    read -r left pid <"$file" && [ -n "$pid" ] || continue
    left=$((left - 1))
    if [ ! -d "/proc/$pid" ]; then rm -f "$file"
    elif [ "$left" -gt 0 ]; then echo "$left $pid" >"$file"
    else
      rm -f "$file"
      sh -c "$3" ramure "${file##*/}" "$pid" >/dev/null 2>&1 &
    fi
  done
done
