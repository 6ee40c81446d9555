# Says one line, "ramure PID TERMINAL" or "ramure ! ERRNO what", and becomes the command. $1 its folder;
# $2 the user, or nothing; $3 and $4 the rows and columns of its terminal, or nothing; $5 and $6 where
# its deadline is written for the watchdog, and its seconds, or nothing; then its words.
no() {
  echo "ramure ! $*"
  exit 0
}
if ! cd "$1" 2>/dev/null; then
  [ -e "$1" ] || no ENOENT "$1"
  [ -d "$1" ] || no ENOTDIR "$1"
  no EACCES "$1"
fi
unset OLDPWD
user=$2 terminal=
if [ -n "$3" ]; then
  terminal=$(tty)
  stty rows "$3" cols "$4" 2>/dev/null
fi
due=$5 seconds=$6
shift 6
if [ "${1#*/}" != "$1" ]; then
  [ -e "$1" ] || no ENOENT "$1"
  [ -f "$1" ] && [ -x "$1" ] || no EACCES "$1"
else
  path=$PATH: found=
  while [ -n "$path" ]; do
    file=${path%%:*}/$1 path=${path#*:}
    [ -f "$file" ] || continue
    found=${found:-$file}
    [ ! -x "$file" ] || { found=ok && break; }
  done
  [ -n "$found" ] || no ENOENT "$1"
  [ "$found" = ok ] || no EACCES "$1"
fi
if [ -n "$user" ]; then
  id "$user" >/dev/null 2>&1 || no EPERM "there is no user $user"
  command -v setpriv >/dev/null || no EPERM "there is no setpriv, by which to become $user"
  HOME=$(grep "^$user:" /etc/passwd | cut -d: -f6) USER=$user LOGNAME=$user
  export HOME USER LOGNAME
  set -- setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups "$@"
fi
[ -z "$due" ] || (umask 077 && mkdir -p "${due%/*}" && echo "$seconds $$" >"$due") 2>/dev/null
echo "ramure $$ $terminal"
unset user terminal due seconds path file found
exec "$@"
