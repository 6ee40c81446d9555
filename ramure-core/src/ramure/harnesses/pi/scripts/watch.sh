# Ends when the launcher of an agent has ended, and gives pi's exit code, if it could be written.
# Opening a FIFO to read waits for a writer, for ever if there is none any more: so it is opened for
# both first.
exec 8<>alive || exit 0
if [ ! -e exit ]; then
  exec 7<alive 8>&-
  cat <&7 >/dev/null
fi
cat exit 2>/dev/null
