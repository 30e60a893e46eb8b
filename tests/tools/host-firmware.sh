#!/bin/sh
# Plays firmware and boot loader of a test host, as its first process: starts what the default boot entry names.
set -eu
entry=/boot/loader/entries/$(sed -n 's/^default //p' /boot/loader/loader.conf)
init=$(sed -n 's/^options init=\([^ ]*\).*/\1/p' "$entry")
echo "booting $entry"
exec "$init"
