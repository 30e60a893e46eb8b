# Evaluates our NixOS modules with these definitions, and gives what the tests look at.
{ definitions }:
let
  lib = import ./lib.nix;

  # What NixOS itself has, as far as our modules set it.
  nixos = { lib, ... }: {
    options = {
      environment.etc = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
      environment.systemPackages = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
      systemd.services = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
      assertions = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
      networking.hostName = lib.mkOption { type = lib.types.str; default = "nixos"; };
      nix.package = lib.mkOption { type = lib.types.anything; default = "/nix"; };
    };
  };

  pkgs = {
    gitMinimal = "/git";
    formats.toml = _: {
      type = lib.types.attrsOf lib.types.anything;
      generate = _: builtins.toJSON;
    };
  };

  config = lib.evalModules {
    modules = [ nixos ../../nixos/agent.nix ];
    specialArgs = { inherit pkgs; };
    definitions = builtins.fromJSON definitions;
  };
in
{
  inherit (config) assertions;
  host = config.environment.etc."npc/host.json".text;
  settings = config.services.npc-agent.settings;
  service = config.systemd.services.npc-agent or null;
}
