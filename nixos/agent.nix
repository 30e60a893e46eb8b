# The agent as a service of NixOS.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;

  cfg = config.services.npc-agent;

  tables = import ./settings.nix { inherit lib; };

  isSetting = value: value ? type && value ? description;

  # A setting that is not said is left out of the file, so that the agent's own default or the host's enrolment counts.
  toOptions = lib.mapAttrs (_: value: if isSetting value then toOption value else toOptions value);

  toOption = { type, default, example, description }: mkOption {
    type = types.nullOr type;
    default = null;
    inherit example;
    description = description
      + lib.optionalString (default != null) "\nUnless it is said, the agent takes `${builtins.toJSON default}`.\n";
  };

  # A table that would be empty is left out as well.
  said = settings:
    lib.filterAttrs (_: value: value != null && value != { })
      (lib.mapAttrs (_: value: if builtins.isAttrs value then said value else value) settings);

  # What a setting comes to, for what depends on it here.
  or' = default: value: if value == null then default else value;
  limit = or' tables.probation.limit.default cfg.settings.probation.limit;
  settle = or' tables.probation.settle.default cfg.settings.probation.settle;

  # Files that systemd reads as root when the agent starts, and hands to that unit alone (systemd.exec(5), LoadCredential=).
  credentials = lib.filterAttrs (_: file: file != null) {
    store-token = cfg.storeTokenFile;
    aws-credentials = cfg.awsCredentialsFile;
    netrc = cfg.netrcFile;
    access-tokens = cfg.accessTokensFile;
    ssh-key = cfg.sshKeyFile;
  };

  # Where it puts them.
  credential = name: "/run/credentials/npc-agent.service/${name}";

  secretFile = example: description: mkOption {
    # A path that Nix would copy into its store is none.
    type = types.nullOr (types.strMatching "/.+");
    default = null;
    inherit example description;
  };

  secretFiles = {
    inherit (cfg) environmentFile storeTokenFile awsCredentialsFile netrcFile accessTokensFile sshKeyFile;
    "settings.store_token_file" = cfg.settings.store_token_file;
    "settings.build.netrc_file" = cfg.settings.build.netrc_file;
    "settings.build.access_tokens_file" = cfg.settings.build.access_tokens_file;
    "settings.build.ssh_key_file" = cfg.settings.build.ssh_key_file;
  };
in
{
  imports = [ ./host.nix ./metadata.nix ];

  options.services.npc-agent = {
    enable = mkEnableOption "npc-agent, which keeps this host in the configuration that its fleet's operators published";

    package = mkOption {
      type = types.package;
      description = "The package that has `bin/npc-agent`. The flake's modules bring it along.";
    };

    settings = mkOption {
      type = types.submodule { options = toOptions tables; };
      default = { };
      example = {
        store = "s3://my-bucket/fleet?region=eu-central-1";
        fleet = "0123456789abcdef0123456789abcdef";
        root_keys = [ "npc-root-1:…" ];
        remote = "prod";
      };
      description = ''
        The agent's settings: what `npc-publish init` prints, what to follow, and all else. They end up in the Nix store, which
        everybody on the host can read: secrets belong into the files that the options beside this one name.
      '';
    };

    environmentFile = secretFile "/run/secrets/npc-agent" ''
      A file with credentials for the store, such as `AWS_ACCESS_KEY_ID=…`, one a line.
    '';

    awsCredentialsFile = secretFile "/run/secrets/npc-aws-credentials" ''
      A file of AWS credentials as {file}`~/.aws/credentials` has them; its `default` profile counts. An instance role needs none.
    '';

    storeTokenFile = secretFile "/run/secrets/npc-store-token" ''
      A file with this host's token for an HTTP store. systemd hands it to the agent as a credential whenever the agent starts:
      after replacing it, `systemctl restart npc-agent`. To have the agent itself read a file, and read it anew when the store
      refuses the token, name one that only root can read in `settings.store_token_file` instead.
    '';

    netrcFile = secretFile "/run/secrets/npc-netrc" ''
      A file in the form of netrc(5) with names and passwords for the servers that private flake inputs, and binary caches, are
      fetched from over HTTP. It takes the place of the one that {option}`nix.settings` may name.
    '';

    accessTokensFile = secretFile "/run/secrets/npc-access-tokens" ''
      A file with lines as in nix.conf, `access-tokens = github.com=… gitlab.com=PAT:…`, for private flake inputs. It may hold
      nothing else. In {option}`nix.settings` they would be in the Nix store, for everybody on the host to read.
    '';

    sshKeyFile = secretFile "/run/secrets/npc-ssh-key" ''
      A file with the secret SSH key, without passphrase, that git shows to the servers of private flake inputs (`git+ssh://…`). Those
      servers must be known: by {option}`services.npc-agent.sshKnownHostsFile` or {option}`programs.ssh.knownHosts`.
    '';

    sshKnownHostsFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/etc/npc/known_hosts";
      description = "A file with the public keys of those servers, as ssh's `known_hosts` has them. It is not secret.";
    };
  };

  config = mkIf cfg.enable {
    services.npc-agent.settings = {
      # The name that the host has for the network is not for the network to decide.
      host = lib.mkDefault (lib.toLower config.networking.hostName);

      store_token_file = mkIf (cfg.storeTokenFile != null) (credential "store-token");
      build = {
        netrc_file = mkIf (cfg.netrcFile != null) (credential "netrc");
        access_tokens_file = mkIf (cfg.accessTokensFile != null) (credential "access-tokens");
        ssh_key_file = mkIf (cfg.sshKeyFile != null) (credential "ssh-key");
        ssh_known_hosts_file = mkIf (cfg.sshKnownHostsFile != null) "${cfg.sshKnownHostsFile}";
      };
    };

    assertions = [
      {
        assertion = cfg.settings.host != "";
        message = ''
          services.npc-agent.settings.host: networking.hostName is empty, so say what this host is called; or `null`, if it was
          enrolled under a name or shall go by what the machine is called when its first agent begins.
        '';
      }
      {
        assertion = cfg.settings.host == null || cfg.settings.host == ""
          || builtins.match "[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?" cfg.settings.host != null;
        message = ''
          services.npc-agent.settings.host: "${or' "" cfg.settings.host}" is no name for a host. It is networking.hostName unless it
          is said, and is made of up to 63 of a-z, 0-9 and, in between, `.`, `_`, `-`.
        '';
      }
      {
        assertion = settle < limit;
        message = ''
          services.npc-agent.settings.probation: with settle at ${toString settle} s and limit at ${toString limit} s, no probation
          could ever be passed.
        '';
      }
      {
        assertion = cfg.settings.reboot.when != "in-window" || or' [ ] cfg.settings.reboot.windows != [ ];
        message = ''services.npc-agent.settings.reboot: when is "in-window", and windows names none, such as "Sat 02:00-05:00".'';
      }
      {
        assertion = or' tables.report.heartbeat.default cfg.settings.report.heartbeat >= 60;
        message = "services.npc-agent.settings.report.heartbeat: the agent reports no more often than every 60 s.";
      }
      {
        assertion = cfg.settings.root_keys == null
          || or' tables.root_threshold.default cfg.settings.root_threshold <= builtins.length cfg.settings.root_keys;
        message = "services.npc-agent.settings.root_threshold: there are fewer root_keys than that.";
      }
      {
        assertion = cfg.settings.store_token_file == null || cfg.settings.store == null
          || builtins.match "https?://.*" cfg.settings.store != null;
        message = "services.npc-agent.storeTokenFile: only HTTP stores take tokens, and settings.store is ${toString cfg.settings.store}.";
      }
      {
        assertion = cfg.settings.build.ssh_known_hosts_file == null || cfg.settings.build.ssh_key_file != null;
        message = "services.npc-agent.sshKnownHostsFile: there is no sshKeyFile for which it would count.";
      }
    ] ++ lib.mapAttrsToList (name: file: {
      assertion = file == null || !lib.hasPrefix "${builtins.storeDir}/" file;
      message = ''
        services.npc-agent.${name}: ${toString file} is in the Nix store, where everybody on the host can read it, and so can every
        host that gets it. Name a file that is on the host alone.
      '';
    }) secretFiles ++ lib.mapAttrsToList (name: check: {
      assertion = check.startPeriod < limit;
      message = ''
        npc.host.healthChecks.${name}: with a startPeriod of ${toString check.startPeriod} s, a probation that is over after
        ${toString limit} s (services.npc-agent.settings.probation.limit) could never be passed.
      '';
    }) config.npc.host.healthChecks;

    environment.etc."npc-agent/config.toml".source = (pkgs.formats.toml { }).generate "npc-agent.toml" (said cfg.settings);
    environment.systemPackages = [ cfg.package ];

    systemd.services.npc-agent = {
      description = "Keep this host in the configuration that its fleet's operators published";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      # The first report of a first boot has the SSH server's public keys in it: what encrypts secrets to a host needs them before
      # that host has ever been activated. Some NixOS make them in sshd-keygen.service, others before sshd.service starts. Neither
      # is wanted here: a host without an SSH server gets none, and what does not exist is not waited for.
      after = [ "network-online.target" "sshd-keygen.service" "sshd.service" ];
      # What Nix calls: inputs come by git, and git's by ssh, also with keys that root's own configuration names.
      path = [ config.nix.package pkgs.gitMinimal config.programs.ssh.package ];
      # Nix runs here and not in nix-daemon: it needs what NixOS tells that one, and the way through a proxy.
      environment = config.nix.envVars // config.networking.proxy.envVars // lib.optionalAttrs (cfg.awsCredentialsFile != null) {
        AWS_SHARED_CREDENTIALS_FILE = credential "aws-credentials";
      };

      # Its own switch must not end it. It ends by itself once another system runs, and is started again as that one's agent.
      restartIfChanged = false;
      unitConfig.X-StopOnRemoval = false;
      # An agent that cannot start is tried again for ever: the dead-man timer ends that.
      startLimitIntervalSec = 0;

      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/npc-agent run";
        # After a switch the next agent starts at once; one that cannot start, such as before the host is enrolled, takes ever longer
        # pauses (systemd 254 or newer; an older one takes the first for ever). systemd counts all restarts since the unit was
        # last started by hand, so each start that succeeds has it begin anew.
        Restart = "always";
        RestartSec = 1;
        RestartSteps = 6;
        RestartMaxDelaySec = 60;
        ExecStartPost = "-${config.systemd.package}/bin/systemctl reset-failed npc-agent.service";
        WatchdogSec = 60;
        # A host that is short of everything may take a while to say how it is.
        TimeoutStartSec = "5min";
        KillMode = "mixed";
        # A commit that has begun is brought to its end.
        TimeoutStopSec = "45min";
        StateDirectory = "npc-agent";
        EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") credentials;
      } // import ./hardening.nix;
    };
  };
}
