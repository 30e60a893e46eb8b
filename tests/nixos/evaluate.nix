# Evaluates our NixOS modules with these definitions, and gives what the tests look at. `library` is nixpkgs' lib, or what stands in
# for it.
{ library, definitions }:
let
  lib = import (/. + library);

  # What NixOS itself has, as far as our modules set it.
  nixos = { lib, ... }: {
    options = {
      environment.etc = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
      environment.systemPackages = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
      systemd.services = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
      assertions = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
      networking.hostName = lib.mkOption { type = lib.types.str; default = "nixos"; };
      networking.enableIPv6 = lib.mkOption { type = lib.types.bool; default = true; };
      networking.proxy.envVars = lib.mkOption { type = lib.types.attrsOf lib.types.str; default = { }; };
      networking.firewall = {
        enable = lib.mkOption { type = lib.types.bool; default = true; };
        backend = lib.mkOption { type = lib.types.str; default = "iptables"; };
        extraCommands = lib.mkOption { type = lib.types.str; default = ""; };
        extraStopCommands = lib.mkOption { type = lib.types.str; default = ""; };
      };
      networking.nftables = {
        enable = lib.mkOption { type = lib.types.bool; default = false; };
        tables = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
      };
      nix.package = lib.mkOption { type = lib.types.anything; default = "/nix"; };
      nix.envVars = lib.mkOption { type = lib.types.attrsOf lib.types.str; default = { }; };
      programs.ssh.package = lib.mkOption { type = lib.types.anything; default = "/openssh"; };
      systemd.package = lib.mkOption { type = lib.types.anything; default = "/systemd"; };
    };

    config.services.npc-agent.package = { type = "derivation"; name = "npc-agent"; outPath = "/package"; };
  };

  pkgs = {
    gitMinimal = "/git";
    formats.toml = _: { generate = _: builtins.toJSON; };
  };

  inherit (lib.evalModules {
    modules = [ nixos ../../nixos/agent.nix { config = builtins.fromJSON definitions; } ];
    specialArgs = { inherit pkgs; };
  }) config;
in
{
  # Which module's come first is nobody's promise.
  assertions = builtins.sort (one: other: one.message < other.message) config.assertions;
  host = config.environment.etc."npc/host.json".text;
  # What would be the agent's configuration file, in JSON.
  settings = builtins.fromJSON (config.environment.etc."npc-agent/config.toml".source or "null");
  service = config.systemd.services.npc-agent or null;
  firewall = { inherit (config.networking.firewall) extraCommands extraStopCommands; inherit (config.networking.nftables) tables; };
}
