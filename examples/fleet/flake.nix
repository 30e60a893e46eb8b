# A fleet of three hosts, laid out like any NixOS configuration repository.
{
  description = "Two web servers and a database";

  # No inputs: the example evaluates and builds without a network, and needs no lock file.
  outputs = { self }:
    let
      lib = import ./lib { system = import ./system.nix; };

      host = name: lib.nixosSystem {
        modules = [
          ./modules/base.nix
          (./hosts + "/${name}.nix")
        ];
      };
    in
    {
      nixosConfigurations = lib.genAttrs [ "web-1" "web-2" "db-1" ] host;
    };
}
