# The agent and its unit, as nixos/agent.nix has it on NixOS.
{ config, lib, ... }:
let
  inherit (config.npc) agent;

  # A store path for each version, whether or not the program differs.
  package = derivation {
    name = "npc-agent-${agent.version}";
    inherit (lib) system;
    builder = "/bin/sh";
    args = [ "-euc" "mkdir -p $out/bin\ncp ${lib.escapeShellArg agent.program} $out/bin/npc-agent" ];
    PATH = lib.path;
  };
in
{
  npc.agent = {
    enable = true;
    version = "1";
    # Where the host finds the program under test.
    program = "/opt/npc/npc-agent";
    environment = [ ];
    settings = "";
  };

  environment.etc =
    if agent.enable then { "npc-agent/config.toml".text = agent.settings; } else { };

  systemd.units =
    if !agent.enable then { } else {
      "npc-agent.service" = {
        wantedBy = [ "multi-user.target" ];
        text = ''
          [Unit]
          Wants=network-online.target
          After=network-online.target
          X-RestartIfChanged=false
          X-StopOnRemoval=false
          StartLimitIntervalSec=0

          [Service]
          Type=notify
          ExecStart=${package}/bin/npc-agent run
          ${builtins.concatStringsSep "\n" (map (variable: "Environment=${variable}") agent.environment)}
          Restart=always
          RestartSec=1
          WatchdogSec=60
          TimeoutStartSec=5min
          KillMode=mixed
          TimeoutStopSec=45min
          StateDirectory=npc-agent
        '';
      };
    };
}
