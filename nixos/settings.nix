# The agent's settings, one for one as its configuration file has them. What each means, which values it takes, what the agent takes
# unless it is said, and an example of something else: the options, their documentation and the tests all come from here.
{ lib }:
let
  inherit (lib) types;

  # The names of remotes, hosts and assignments.
  name = types.strMatching "[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?";

  path = types.strMatching "/.*";

  command = types.nonEmptyListOf types.str;

  # One without a default of its own is null to the agent as well, or must be known from elsewhere.
  setting = type: example: description: { inherit type example description; default = null; };

  setting' = type: default: example: description: { inherit type default example description; };

  seconds = setting' types.ints.unsigned;
in
{
  fleet = setting (types.strMatching "[0-9a-f]{32}") "0123456789abcdef0123456789abcdef" ''
    The fleet's id, as `npc-publish init` prints it. Together with `store`, `root_keys` and `remote` it is what an agent cannot do
    without; a host that was enrolled has them in its state directory, and what is said here goes before that.
  '';
  store = setting types.str "https://store.example.org/" ''
    The address of the store: `s3://bucket/prefix?region=…`, `https://host/path` or `file:///directory`.
  '';
  store_token_file = setting path "/run/secrets/npc-store-token" ''
    A file, readable by its owner alone, with the token for an HTTP store that asks for one. The agent reads it anew when the store
    refuses the token. {option}`services.npc-agent.storeTokenFile` has systemd hand it over instead.
  '';
  root_keys = setting (types.listOf types.str) [
    "npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="
    "npc-example-2:+fXYqUIPQ7HehSI46hsE8R43uE13vyDVrg7t9nSyVok="
  ] ''
    The public root keys of the fleet.
  '';
  root_threshold = setting' types.ints.positive 1 2 ''
    How many of the root keys must have signed the first trust.
  '';
  minimum_trust = setting' types.ints.positive 1 2 ''
    No older version of the trust is believed, even at first contact.
  '';
  minimum_serials = setting' (types.attrsOf types.ints.positive) { } { prod = 17; } ''
    No release with a lower serial is believed of a remote, even at first contact.
  '';
  remote = setting name "prod" ''
    The remote to follow until the host is assigned one.
  '';
  configuration = setting types.str "web-1" ''
    The configuration in the remote's flake to follow until the host is assigned one: an attribute of `nixosConfigurations`. The
    one of the host's name unless it is said; with capitals, where the machine's name has them.
  '';
  initial_configuration = setting types.str "small" ''
    The configuration to build and activate before any other, whatever the host is told, until it has committed a release. What an
    image with this module may say, and a machine's enrolment.
  '';
  # The module checks the name by an assertion: it comes from networking.hostName, and the message says so.
  host = setting types.str "web-1" ''
    The host's name in the store. `null` means the name under which the machine was enrolled, or what it was called when its first
    agent began: what machines need that share one configuration, as in a scaling group.
  '';
  assignment = setting name "workers" ''
    The assignment that the host obeys. The one of its own name unless it is said.
  '';
  poll_interval = setting' (types.ints.between 1 3600) 60 30 ''
    Seconds between polls, give or take half.
  '';
  root = setting' path "/" "/srv/trial" ''
    Where the file system of the system begins, for trials.
  '';
  profile = setting path "/nix/var/nix/profiles/trial" ''
    The profile that the boot loader follows. The system profile below `root` unless it is said.
  '';

  activation = {
    command = setting command [ "sh" "-c" "cat modules/motd.txt" ] ''
      A command that applies the unpacked flake, in place of NixOS.
    '';
    timeout = seconds 1800 900 ''
      Seconds that an activation, or installing a boot loader, may take.
    '';
    boot_instead_of_switch = setting' (types.listOf (types.enum [ "kernel" "inhibited" "init-interface" ])) [ ] [ "kernel" ] ''
      At which obstacles a system is booted into instead of switched to.
    '';
    by_hand = setting' (types.enum [ "respect" "enforce" ]) "respect" "enforce" ''
      Whether a system that somebody activated by hand stays until something new is published, or the committed one comes back.
    '';
    host_file = setting path "/etc/npc/another.json" ''
      Where the host is described, with its health checks. {file}`/etc/npc/host.json` of the running system unless it is said.
    '';
  };

  probation = {
    settle = seconds 30 60 ''
      Seconds to watch the host for after an activation.
    '';
    store = seconds 60 90 ''
      Seconds for which the store may be silent then.
    '';
    limit = seconds 600 900 ''
      Seconds until all must be decided.
    '';
    failed_units = setting' (types.enum [ "judge" "tolerate" ]) "judge" "tolerate" ''
      Whether units that newly fail speak against a system, or are only reported.
    '';
  };

  build = {
    timeout = seconds 7200 3600 ''
      Seconds that evaluating and building may take.
    '';
    memory_max = setting types.str "2G" ''
      How much memory they may take, as systemd's `MemoryMax=` has it. Unbounded unless it is said.
    '';
    free_in_store = setting' types.ints.unsigned 1024 2048 ''
      MiB that must be free in the Nix store before a build.
    '';
    free_in_boot = setting' types.ints.unsigned 32 64 ''
      MiB that must be free in {file}`/boot` before a build.
    '';
    free_memory = setting' types.ints.unsigned 128 256 ''
      MiB of memory that must be available before a build.
    '';
    netrc_file = setting path "/run/secrets/npc-netrc" ''
      A file in the form of netrc(5), readable by its owner alone, with names and passwords for the servers that private flake inputs
      and binary caches are fetched from. {option}`services.npc-agent.netrcFile` has systemd hand it over instead.
    '';
    access_tokens_file = setting path "/run/secrets/npc-access-tokens" ''
      A file, readable by its owner alone, with lines such as `access-tokens = github.com=…`.
      {option}`services.npc-agent.accessTokensFile` has systemd hand it over instead.
    '';
    ssh_key_file = setting path "/run/secrets/npc-ssh-key" ''
      A file, readable by its owner alone, with the secret key that git shows to servers of private inputs.
      {option}`services.npc-agent.sshKeyFile` has systemd hand it over instead.
    '';
    ssh_known_hosts_file = setting path "/etc/npc/known_hosts" ''
      The public keys of those servers, beside the ones that the machine knows. One that neither has is not talked to.
    '';
  };

  reboot = {
    when = setting' (types.enum [ "never" "when-needed" "in-window" ]) "never" "in-window" ''
      When the agent reboots the host of its own accord.
    '';
    windows = setting' (types.listOf types.str) [ ] [ "Sat 02:00-05:00" ] ''
      The windows that `in-window` means.
    '';
    time_zone = setting types.str "Europe/Berlin" ''
      The time zone of the windows. The machine's unless it is said.
    '';
    delay = seconds 0 120 ''
      Seconds to wait before a reboot.
    '';
    grace = seconds 86400 3600 ''
      Seconds to wait for users to log out.
    '';
    if_stranded = setting' types.bool false true ''
      Whether to reboot into the old system when going back to it fails.
    '';
    command = setting' command [ "systemctl" "reboot" ] [ "systemctl" "kexec" ] ''
      The program that reboots, and its arguments.
    '';
  };

  keep = {
    releases = setting' types.ints.unsigned 3 5 ''
      How many old flakes and systems to keep.
    '';
    days = setting' types.ints.unsigned 30 90 ''
      For how many days to keep them.
    '';
  };

  hooks = {
    committed = setting command [ "/run/current-system/sw/bin/logger" "committed" ] ''
      A program to run after a commit, and its arguments.
    '';
    rolled_back = setting command [ "/run/current-system/sw/bin/logger" "rolled back" ] ''
      A program to run after a roll-back, or one that failed, and its arguments.
    '';
  };

  metrics = {
    listen = setting (types.strMatching "unix:/.+|.+:[0-9]+") "127.0.0.1:9475" ''
      Where Prometheus finds figures: `unix:/a/path` or an address. Nowhere unless it is said.
    '';
  };

  report = {
    enable = setting' types.bool true false ''
      Whether to report to the store.
    '';
    heartbeat = seconds 1800 600 ''
      Seconds between reports that say the same; at least 60.
    '';
    logs = setting' types.bool true false ''
      Whether the ends of failed commands' logs are part of reports.
    '';
    ephemeral = setting' types.bool false true ''
      Whether the machine comes and goes: once it is silent, it leaves the fleet's view.
    '';
  };
}
