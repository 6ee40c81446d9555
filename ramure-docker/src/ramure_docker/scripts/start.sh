# Says one line, "ramure PID" or "ramure ERRNO what", and becomes the command; in a terminal, once that
# has been read. $1 its folder, $2 $3 the rows and columns of its terminal or nothing, then its words.
fail() {
  echo "ramure $*"
  exit 0
}
if ! cd "$1" 2>/dev/null; then
  [ -d "$1" ] && fail EACCES "$1"
  [ -e "$1" ] && fail ENOTDIR "$1"
  fail ENOENT "$1"
fi
unset OLDPWD
[ -z "$2" ] || stty rows "$2" cols "$3" 2>/dev/null
shift 3
ramure_program= ramure_there=
case $1 in
*/*)
  [ -e "$1" ] && ramure_there=1
  [ -f "$1" ] && [ -x "$1" ] && ramure_program=1
  ;;
*)
  ramure_old=$IFS
  IFS=:
  set -f
  for ramure_folder in $PATH; do
    [ -f "${ramure_folder:-.}/$1" ] || continue
    ramure_there=1
    [ -x "${ramure_folder:-.}/$1" ] && ramure_program=1 && break
  done
  set +f
  IFS=$ramure_old
  ;;
esac
if [ -z "$ramure_program" ]; then
  [ -n "$ramure_there" ] && fail EACCES "$1"
  fail ENOENT "$1"
fi
echo "ramure $$"
# Programs may throw away what is on its way out of their terminal, as tmux does when it starts.
[ ! -t 0 ] || read -r ramure_old
unset ramure_program ramure_there ramure_folder ramure_old
exec "$@"
