# init: what a boot entry names; there is nothing to boot in an example.
echo "$0: this is an example system: it does not boot" >&2
exit 1
