# The agent as a service of NixOS.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;

  cfg = config.services.npc-agent;

  format = pkgs.formats.toml { };

  # What the credential is called that holds the token for the store.
  credential = "store-token";

  # When a probation must be over, in seconds; the agent's own default.
  limit = cfg.settings.probation.limit or 600;
in
{
  imports = [ ./host.nix ];

  options.services.npc-agent = {
    enable = mkEnableOption "npc-agent, which keeps this host in the configuration that its fleet's operators published";

    package = mkOption {
      type = types.package;
      description = "The package that has `bin/npc-agent`.";
    };

    settings = mkOption {
      type = format.type;
      default = { };
      example = {
        store = "s3://my-bucket/fleet?region=eu-central-1";
        fleet = "0123456789abcdef0123456789abcdef";
        root_keys = [ "npc-root-1:…" ];
        remote = "prod";
      };
      description = ''
        The agent's settings: what `npc-publish init` prints, what to follow, and whatever else the README lists. They end up in
        the Nix store, which everybody on the host can read: credentials belong into `environmentFile` or `storeTokenFile`.
      '';
    };

    environmentFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/npc-agent";
      description = "A file with credentials for the store, such as `AWS_ACCESS_KEY_ID=…`, one a line.";
    };

    storeTokenFile = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/run/secrets/npc-store-token";
      description = ''
        A file with this host's token for an HTTP store. systemd hands it to the agent as a credential whenever the agent starts:
        after replacing it, `systemctl restart npc-agent`. To have the agent itself read a file, and read it anew when the store
        refuses the token, name one that only root can read in `settings.store_token_file` instead.
      '';
    };
  };

  config = mkIf cfg.enable {
    # The name that the host has for the network is not for the network to decide.
    services.npc-agent.settings.host = lib.mkDefault (lib.toLower config.networking.hostName);

    # Where systemd puts the credential of that name.
    services.npc-agent.settings.store_token_file =
      mkIf (cfg.storeTokenFile != null) "/run/credentials/npc-agent.service/${credential}";

    assertions = [
      {
        assertion = cfg.settings.host != "";
        message = "services.npc-agent.settings.host: networking.hostName is empty, so say what this host is called.";
      }
    ] ++ lib.mapAttrsToList (name: check: {
      assertion = check.startPeriod < limit;
      message = ''
        npc.host.healthChecks.${name}: with a startPeriod of ${toString check.startPeriod} s, a probation that is over after
        ${toString limit} s (services.npc-agent.settings.probation.limit) could never be passed.
      '';
    }) config.npc.host.healthChecks;

    environment.etc."npc-agent/config.toml".source = format.generate "npc-agent.toml" cfg.settings;
    environment.systemPackages = [ cfg.package ];

    systemd.services.npc-agent = {
      description = "Keep this host in the configuration that its fleet's operators published";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      # The first report of a first boot has the SSH server's public keys in it: what encrypts secrets to a host needs them before
      # that host has ever been activated. Some NixOS make them in sshd-keygen.service, others before sshd.service starts. Neither
      # is wanted here: a host without an SSH server gets none, and what does not exist is not waited for.
      after = [ "network-online.target" "sshd-keygen.service" "sshd.service" ];
      path = [ config.nix.package pkgs.gitMinimal ];

      # Its own switch must not end it. It ends by itself once another system runs, and is started again as that one's agent.
      restartIfChanged = false;
      unitConfig.X-StopOnRemoval = false;
      # An agent that cannot start is tried again for ever: the dead-man timer ends that.
      startLimitIntervalSec = 0;

      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/bin/npc-agent run";
        Restart = "always";
        RestartSec = 1;
        WatchdogSec = 60;
        # A host that is short of everything may take a while to say how it is.
        TimeoutStartSec = "5min";
        KillMode = "mixed";
        # A commit that has begun is brought to its end.
        TimeoutStopSec = "45min";
        StateDirectory = "npc-agent";
        EnvironmentFile = lib.optional (cfg.environmentFile != null) cfg.environmentFile;
        LoadCredential = lib.optional (cfg.storeTokenFile != null) "${credential}:${cfg.storeTokenFile}";
      };
    };
  };
}
