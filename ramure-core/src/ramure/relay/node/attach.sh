# An attach: carries bytes between its standard streams and the daemon, of which it knows nothing. It may
# be killed and replaced at any time. The daemon sees its end by that of the first `cat`, and ends the
# second one, and with it the rest, by letting go. See calls.mjs.
#
# $1 the relay's folder, $2 how often to look for a daemon that may be yet to come up.
# Exit code 75: there is none.

LC_ALL=C; export LC_ALL
looks=0
until cd "$1" 2>/dev/null && [ -s pid ] && kill -0 "$(cat pid)" 2>/dev/null; do
  if [ $looks -ge "$2" ]; then
    echo "the relay's daemon does not run" >&2
    tail -c 2000 log >&2 2>/dev/null
    exit 75
  fi
  looks=$((looks + 1))
  sleep 0.05 2>/dev/null || sleep 1
done
call=call-$$
rm -f $call.in $call.out
mkfifo -m 600 $call.in $call.out || exit 1
exec 3<&0 4<>$call.in 5<>calls
echo $call >&5
# The daemon opens that pipe last: from then on nothing is lost, whoever ends first.
exec 5>&- 6<$call.out
cat <&3 >&4 3<&- 6<&- &
exec 3<&- 4>&-
cat <&6
kill $! 2>/dev/null
exit 0
