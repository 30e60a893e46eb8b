# How far the agent's unit is locked in, and why no further.
#
# What the agent changes about the host, systemd does for it, in units of their own that nothing here reaches:
# switch-to-configuration, the boot loader, the dead-man timer. What does run inside the unit is a Nix that acts as root and
# without a daemon, everything that it builds and sandboxes, and the operator's health checks, hooks and reboot command. Whatever is
# taken from the agent is taken from those, so only what none of them can need is.
{
  # Nix runs here unless `build.memory_max` gives it a scope of its own. If the kernel is out of memory and ends it, that shall be a
  # failed build that the agent reports, not the end of the agent.
  OOMPolicy = "continue";

  # Nobody here schedules in real time: what Nix builds runs as users that may not (RLIMIT_RTPRIO is 0), and is told EPERM either way.
  RestrictRealtime = true;

  # Neither Nix nor the agent sets the clock, loads modules, traces kernels or changes who may do what under SELinux and Smack. What
  # Nix sandboxes has all capabilities in its own user namespace, whatever the unit has. Kept are those that checks and hooks
  # may well use: CAP_SYS_RAWIO (smartctl), CAP_SYSLOG (dmesg), CAP_SYS_BOOT (a `reboot.command` such as `reboot -ff`), the network's.
  CapabilityBoundingSet =
    "~CAP_SYS_TIME CAP_WAKE_ALARM CAP_SYS_MODULE CAP_BPF CAP_PERFMON CAP_MAC_ADMIN CAP_MAC_OVERRIDE";

  # The keys and tokens in its memory do not belong on a disk.
  LimitCORE = 0;

  # Not chosen, and why:
  #
  # ProtectClock: implies DeviceAllow=char-rtc, and with that takes every other device away, such as /dev/kvm from builds. What it
  #   takes of capabilities is taken above.
  # ProtectHostname: has sethostname(2) fail, which Nix calls for every sandbox.
  # ProtectKernelTunables, ProtectKernelLogs, ProtectProc, ProcSubset: they cover parts of /proc, and where /proc is not wholly
  #   visible the kernel lets no user namespace mount one: no Nix sandbox would begin.
  # ProtectControlGroups: Nix makes control groups where `use-cgroups` is set.
  # ProtectKernelModules, ProtectSystem, ProtectHome, PrivateTmp, PrivateMounts, ReadOnlyPaths: a mount namespace of the unit's own
  #   shows checks and hooks another host than the one they are about: /home empty, another /tmp, /etc and /boot read-only. Nix
  #   writes below /nix and in /tmp, and ssh reads what root's configuration says.
  # PrivateDevices, DevicePolicy: /dev/kvm for builds, disks for checks.
  # PrivateNetwork, RestrictAddressFamilies, IPAddressDeny: stores, substituters and inputs are anywhere, and builds that may use the
  #   network, or test against AF_VSOCK, AF_ALG and the like, would turn out otherwise here than under nix-daemon.
  # RestrictNamespaces: Nix's sandbox is made of namespaces.
  # SystemCallArchitectures, LockPersonality: builds for i686-linux on x86_64-linux use both, and Nix turns address randomisation off
  #   by personality(2).
  # SystemCallFilter, MemoryDenyWriteExecute: builds run anything, and a JIT is part of many.
  # NoNewPrivileges, RestrictSUIDSGID: Nix does both to what it builds. Hooks may use sudo, and
  #   make files that a group shares.
  # UMask: Nix sets its own; hooks write files, such as for a textfile collector, that others read. What is secret in the state
  #   directory, the agent makes so itself.
  # KeyringMode: `private` is the default for services.
  # User, DynamicUser: it takes root to change a system.
}
