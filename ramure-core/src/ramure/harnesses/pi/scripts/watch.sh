# Ends when the launcher of an agent has ended, and gives pi's exit code, if it could be written, and
# "memory", if the kernel has killed something for want of that meanwhile.
kills() {
  grep -hs '^oom_kill ' /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control
}
before=$(kills)
# tmux has made the pane before the launcher runs in it, on a busy machine seconds before: whoever
# watched an "alive" that nobody holds yet would take that for its end.
patience=600
until [ -e started ] || [ -e exit ] || [ "$patience" -eq 0 ]; do
  patience=$((patience - 1))
  sleep 0.05
done
# Opening a FIFO to read waits for a writer, for ever if there is none any more: so it is opened for
# both first.
exec 8<>alive || exit 0
if [ ! -e exit ]; then
  exec 7<alive 8>&-
  cat <&7 >/dev/null
fi
cat exit 2>/dev/null
[ "$(kills)" = "$before" ] || echo memory
