#!/bin/sh
# bootstrap.sh: turns a bare machine into a host. Runs as root, as EC2 user data or by hand, as often as anyone likes: once the
# machine is enrolled it does nothing. Holds no secrets. `npc-publish bootstrap` renders it; docs/bootstrap.md says how it is used.
#
# Nothing is done before the last line, so a script that arrives cut off does nothing.
set -u
umask 077

# What the machine is told; a renderer writes other values here.
NPC_ENROLMENT=''
NPC_GROUP=''
NPC_STORE=''
NPC_SIGV4=''
NPC_TOKEN_FILE=''
NPC_AGENTS=''
NPC_AGENT_FLAKE=''
NPC_SWAP_BELOW='400'
NPC_PATIENCE='3600'

state=/var/lib/npc-agent
fetched=$state/bin/.tmp-agent
swap=$state/bootstrap-swap
metadata=http://169.254.169.254/latest
PATH=${PATH:-/bin}:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# To whoever runs this, the journal and the console, each as far as it is there.
say() {
	printf 'npc-bootstrap: %s\n' "$*" >&2
	if [ -z "${JOURNAL_STREAM:-}" ] && command -v logger >/dev/null 2>&1; then
		logger -t npc-bootstrap -- "$*" 2>/dev/null
	fi
	{ printf 'npc-bootstrap: %s\r\n' "$*" >/dev/console; } 2>/dev/null
	return 0
}

# curl with more options on stdin, where no list of processes shows them.
get() {
	curl --config - --silent --show-error --fail --connect-timeout 10 --speed-time 60 --speed-limit 100 "$@"
}

# The metadata service: version 2, past any proxy.
begin_metadata() {
	session=$(get --noproxy '*' --max-time 10 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 300' \
		"$metadata/api/token" </dev/null)
}

ask_metadata() {
	printf 'header = "X-aws-ec2-metadata-token: %s"\n' "$session" | get --noproxy '*' --max-time 10 "$metadata/$1"
}

member() {
	printf '%s\n' "$credentials" | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -n 1
}

# Options for curl that let this machine in at S3: by what the environment says, or else by the instance's role.
s3_options() {
	if [ -n "${AWS_ACCESS_KEY_ID:-}" ]; then
		id=$AWS_ACCESS_KEY_ID secret=${AWS_SECRET_ACCESS_KEY:-} token=${AWS_SESSION_TOKEN:-}
	else
		begin_metadata || return 1
		role=$(ask_metadata meta-data/iam/security-credentials/) || return 1
		credentials=$(ask_metadata "meta-data/iam/security-credentials/$role") || return 1
		id=$(member AccessKeyId) secret=$(member SecretAccessKey) token=$(member Token)
	fi
	[ -n "$id" ] && [ -n "$secret" ] || return 1
	# UNSIGNED-PAYLOAD stands for a body that is not hashed; there is none.
	printf 'aws-sigv4 = "%s"\nuser = "%s:%s"\nheader = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\n' \
		"$NPC_SIGV4" "$id" "$secret"
	[ -z "$token" ] || printf 'header = "x-amz-security-token: %s"\n' "$token"
}

# curl signs session tokens since 7.86, and what S3 needs to be told since 7.87.
can_sign() {
	version=$(curl --version | sed -n '1s/^curl \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
	[ "${version% *}" -gt 7 ] || { [ "${version% *}" -eq 7 ] && [ "${version#* }" -ge 87 ]; }
}

download() {
	case $NPC_STORE in
	file://*) cp "${NPC_STORE#file://}binaries/$1" "$fetched" && return ;;
	esac
	if [ -n "$NPC_SIGV4" ]; then
		can_sign || { say 'curl is older than 7.87 and cannot sign requests to S3'; return 1; }
		options=$(s3_options) || { say 'there are no credentials for S3: has the instance a role?'; return 1; }
	elif [ -n "$NPC_TOKEN_FILE" ]; then
		options="header = \"Authorization: Bearer $(cat "$NPC_TOKEN_FILE")\"" || return 1
	else
		options=
	fi
	printf '%s\n' "$options" | get --max-filesize 268435456 --output "$fetched" "${NPC_STORE}binaries/$1"
}

# The agent from the store: exactly the one whose digest this script has.
from_store() {
	machine=$(uname -m)
	digest=
	for pair in $NPC_AGENTS; do
		[ "${pair%%=*}" != "$machine" ] || digest=${pair#*=}
	done
	[ -n "$digest" ] || { say "there is no agent for $machine in the store"; return 1; }
	rm -f "$fetched"
	download "$digest" || { say "cannot fetch the agent from $NPC_STORE"; return 1; }
	printf '%s  %s\n' "$digest" "$fetched" | sha256sum -c >/dev/null 2>&1 || {
		say "what $NPC_STORE holds as the agent has another SHA-256 than $digest, or is cut short"
		return 1
	}
	chmod 0755 "$fetched"
	agent=$fetched
}

# The link keeps what the agent is made of from garbage collection.
from_flake() {
	nix --extra-experimental-features 'nix-command flakes' build --no-write-lock-file --out-link "$state/bin/flake" \
		"$NPC_AGENT_FLAKE" || { say "cannot build the agent from $NPC_AGENT_FLAKE"; return 1; }
	agent=$state/bin/flake/bin/npc-agent
}

# What this machine is enrolled with. One of a group is called what the group is, and its instance.
enrolment() {
	if [ -n "$NPC_GROUP" ]; then
		begin_metadata && instance=$(ask_metadata meta-data/instance-id) || return 1
		case ${instance#i-} in
		'' | "$instance" | *[!0-9a-f]*) return 1 ;;
		esac
		printf 'host = "%s-%s"\n' "$NPC_GROUP" "$instance"
	fi
	printf '%s' "$NPC_ENROLMENT"
}

enrol() {
	mkdir -p "$state/bin" || { say "cannot make $state"; return 1; }
	chmod 0755 "$state" "$state/bin"
	if [ -n "$NPC_AGENT_FLAKE" ]; then from_flake; else from_store; fi || return 1
	told=$(enrolment) || { say 'the metadata service does not tell which instance this is'; return 1; }
	printf '%s\n' "$told" | "$agent" --state "$state" install --enrolment - >&2 || {
		say 'the agent could not be installed; why is said above, and in the store if that could be reached'
		return 1
	}
	[ -s "$state/enrolment.toml" ]
}

# Swap where memory is short: building an agent takes more than running one, and a system more than either.
add_swap() {
	free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null)
	[ "${free:-$NPC_SWAP_BELOW}" -lt "$NPC_SWAP_BELOW" ] || return 0
	# What a script before this one left, which was ended without a chance.
	remove_swap
	mkdir -p "$state" && dd if=/dev/zero of="$swap" bs=1048576 count=1024 2>/dev/null && chmod 0600 "$swap" &&
		mkswap "$swap" >/dev/null 2>&1 && swapon "$swap" 2>/dev/null && return
	remove_swap
	say "only $free MiB of memory are free, and no swap could be added"
}

remove_swap() {
	[ -e "$swap" ] || return 0
	swapoff "$swap" 2>/dev/null
	rm -f "$swap"
}

main() {
	[ ! -s "$state/enrolment.toml" ] || exit 0
	[ "$(id -u)" = 0 ] || { say 'this takes root'; exit 1; }
	# The kernel gives the lock back however its holder ends. Without it the agent's installation is safe to run twice, too.
	# A redirection of exec's that fails would end the shell: the subshell tries it.
	lock=/run/npc-bootstrap.lock
	if command -v flock >/dev/null 2>&1 && (: >"$lock") 2>/dev/null && exec 9>"$lock"; then
		# Any other code is flock's own trouble.
		flock -n 9 || [ $? != 1 ] || { say 'another one is at work'; exit 0; }
	fi
	trap 'remove_swap; rm -f "$fetched"' EXIT
	trap 'exit 1' HUP INT TERM
	add_swap
	pause=1 waited=0
	until enrol; do
		if [ "$waited" -ge "$NPC_PATIENCE" ]; then
			say "gave up after $waited s; the next boot, or whoever runs this again, goes on"
			exit 1
		fi
		say "trying again in $pause s"
		sleep "$pause"
		waited=$((waited + pause))
		pause=$((pause * 2))
		[ "$pause" -le 60 ] || pause=60
	done
	say 'this machine is enrolled'
	# An agent that stands in for the machine's own has the first system to build yet: from now on the swap is its unit's.
	if [ -d /run/systemd/system ] && [ ! -e /etc/systemd/system/npc-agent.service ]; then
		swap=
	fi
	exit 0
}

main
