# Makes a sandbox's folders and says what it is like. $1 state folder, $2 its name where there is no
# memory to put it in, $3 working directory or nothing.
LC_ALL=C
export LC_ALL
[ -z "$3" ] || { mkdir -p "$3" && cd "$3"; } || exit 1
state=$1
(umask 077 && mkdir -p "$state") 2>/dev/null || state=$2
(umask 077 && mkdir -p "$state") || exit 1
echo "workdir $(pwd)"
echo "state $state"
for program in bash node; do
  path=$(command -v "$program") && echo "$program $path"
done
grep -q '^[^ ]* /dev/shm tmpfs ' /proc/mounts && echo "memory /dev/shm"
exit 0
