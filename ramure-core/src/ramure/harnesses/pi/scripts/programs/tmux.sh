#!/bin/sh
# Starts the tmux that came with this folder, on whatever C library the machine has. What the machine
# says of its locales is put back before an agent is started (launch.sh).
here=${0%/*}/..
for loader in "$here"/lib/ld-*; do :; done
RAMURE_LOCPATH=${LOCPATH-} LOCPATH=$here/share/locale
# An empty name: where tmux itself would look.
TERMINFO_DIRS=${TERMINFO_DIRS-}:$here/share/terminfo
export RAMURE_LOCPATH LOCPATH TERMINFO_DIRS
exec "$loader" --library-path "$here/lib" "$here/lib/tmux" "$@"
