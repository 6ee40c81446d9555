# Makes a sandbox's folders and says what it is like. $1 state folder, $2 its name where there is no
# memory to put it in, $3 working directory, or nothing: where its maker has said.
LC_ALL=C
export LC_ALL
state=$1
(umask 077 && mkdir -p "$state") 2>/dev/null || state=$2
(umask 077 && mkdir -p "$state") || exit 1
where=${3:-$(cat "$state/workdir" 2>/dev/null)}
[ -z "$where" ] || { mkdir -p "$where" && cd "$where"; } || exit 1
[ -s "$state/workdir" ] || pwd >"$state/workdir" || exit 1
echo "workdir $(pwd)"
echo "state $state"
for program in bash node; do
  path=$(command -v "$program") && echo "$program $path"
done
grep -q '^[^ ]* /dev/shm tmpfs ' /proc/mounts && echo "memory /dev/shm"
exit 0
