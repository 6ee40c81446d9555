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
ramure_user=$2 ramure_terminal=
if [ -n "$3" ]; then
  ramure_terminal=$(tty)
  stty rows "$3" cols "$4" 2>/dev/null
fi
ramure_due=$5 ramure_seconds=$6
shift 6
if [ "${1#*/}" != "$1" ]; then
  [ -e "$1" ] || no ENOENT "$1"
  [ -f "$1" ] && [ -x "$1" ] || no EACCES "$1"
else
  ramure_path=$PATH: ramure_found=
  while [ -n "$ramure_path" ]; do
    ramure_file=${ramure_path%%:*}/$1 ramure_path=${ramure_path#*:}
    [ -f "$ramure_file" ] || continue
    ramure_found=${ramure_found:-$ramure_file}
    [ ! -x "$ramure_file" ] || { ramure_found=ok && break; }
  done
  [ -n "$ramure_found" ] || no ENOENT "$1"
  [ "$ramure_found" = ok ] || no EACCES "$1"
fi
if [ -n "$ramure_user" ]; then
  id "$ramure_user" >/dev/null 2>&1 || no EPERM "there is no user $ramure_user"
  command -v setpriv >/dev/null || no EPERM "there is no setpriv, by which to become $ramure_user"
  HOME=$(grep "^$ramure_user:" /etc/passwd | cut -d: -f6) USER=$ramure_user LOGNAME=$ramure_user
  export HOME USER LOGNAME
  set -- setpriv --reuid "$(id -u "$ramure_user")" --regid "$(id -g "$ramure_user")" --init-groups "$@"
fi
[ -z "$ramure_due" ] || (umask 077 && mkdir -p "${ramure_due%/*}" && echo "$ramure_seconds $$" >"$ramure_due") 2>/dev/null
echo "ramure $$ $ramure_terminal"
unset ramure_user ramure_terminal ramure_due ramure_seconds ramure_path ramure_file ramure_found
exec "$@"
