# One host, laid out like any NixOS configuration repository: what it is like is chosen in choices.json.
{
  description = "A host to try agents on";

  # No inputs: it evaluates and builds without a network, and needs no lock file.
  outputs = { self }:
    let
      lib = import ./lib { system = import ./system.nix; };
    in
    {
      nixosConfigurations.host = lib.nixosSystem {
        modules = [
          ./modules/base.nix
          ./modules/agent.nix
          ./modules/choices.nix
        ];
      };
    };
}
