# A step of copying a file. $1 its path, $2 the step, then: begin TEMPORARY: makes the folders and an
# empty file that nobody else can read; finish TEMPORARY MODE: gives it its place; forget TEMPORARY;
# look: says what is at the path, and its mode. Says "! ERRNO" where it fails.
LC_ALL=C
export LC_ALL
no() {
  echo "! $1"
  exit 0
}
said() {
  case $1 in
  *'No such file'*) no ENOENT ;;
  *'ermission denied'*) no EACCES ;;
  *'ot a directory'* | *'File exists'*) no ENOTDIR ;;
  *'Is a directory'*) no EISDIR ;;
  *'No space'*) no ENOSPC ;;
  *'ead-only'*) no EROFS ;;
  *'too long'*) no ENAMETOOLONG ;;
  esac
  no EIO
}
case $2 in
begin)
  [ ! -d "$1" ] || no EISDIR
  words=$(mkdir -p "${1%/*}/" 2>&1) || said "$words"
  words=$( (umask 077 && : >"$3") 2>&1) || said "$words"
  ;;
finish)
  words=$({ chmod "$4" "$3" && mv -f "$3" "$1"; } 2>&1) || said "$words"
  ;;
forget)
  # Modal's own program may still be about to write it.
  for file in $(grep -lsF -- "$3" /proc/[0-9]*/cmdline); do
    file=${file#/proc/}
    [ "${file%/*}" = $$ ] || kill -9 "${file%/*}"
  done 2>/dev/null
  rm -f "$3"
  ;;
look)
  words=$(ls -ldL "$1" 2>&1) || said "$words"
  [ -r "$1" ] || no EACCES
  [ -f "$1" ] || { echo other && exit 0; }
  echo "file $(stat -L -c %a "$1" 2>/dev/null || echo 644)"
  ;;
esac
exit 0
