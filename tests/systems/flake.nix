# Hosts, laid out like any NixOS configuration repository: which there are is said in hosts.json, what they are like in choices.json.
{
  description = "Hosts to try agents on";

  # No inputs: it evaluates and builds without a network, and needs no lock file.
  outputs = { self }:
    let
      lib = import ./lib { system = import ./system.nix; };

      configuration = name: {
        inherit name;
        value = lib.nixosSystem {
          modules = [
            ./modules/base.nix
            { networking.hostName = name; }
            ./modules/agent.nix
            ./modules/choices.nix
          ];
        };
      };
    in
    {
      nixosConfigurations = builtins.listToAttrs
        (map configuration (builtins.fromJSON (builtins.readFile ./hosts.json)));
    };
}
