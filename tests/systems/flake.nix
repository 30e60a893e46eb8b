# Hosts, laid out like any NixOS configuration repository: each has its file in hosts/, and what they are like is chosen in choices.json.
{
  description = "Hosts to try agents on";

  # No inputs: it evaluates and builds without a network, and needs no lock file.
  outputs = { self }:
    let
      lib = import ./lib { system = import ./system.nix; };

      configuration = file: {
        name = builtins.head (builtins.split "\\.nix" file);
        value = lib.nixosSystem {
          modules = [
            ./modules/base.nix
            (./hosts + "/${file}")
            ./modules/agent.nix
            ./modules/choices.nix
          ];
        };
      };
    in
    {
      nixosConfigurations =
        builtins.listToAttrs (map configuration (builtins.attrNames (builtins.readDir ./hosts)));
    };
}
