#!/bin/sh
# Starts the Node.js that came with this folder, on whatever C library the machine has.
here=${0%/*}/..
for loader in "$here"/lib/ld-*; do :; done
exec "$loader" --library-path "$here/lib" "$here/lib/node" --require "$here/lib/node.cjs" "$@"
