{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.npc.url = "git+https://git.example.org/npc"; # wherever your hosts reach it

  outputs = { nixpkgs, npc, ... }:
    let
      machine = modules: nixpkgs.lib.nixosSystem {
        modules = modules ++ [
          "${nixpkgs}/nixos/modules/virtualisation/amazon-image.nix"
          npc.nixosModules.default
          {
            nixpkgs.hostPlatform = "x86_64-linux";
            system.stateVersion = "26.05";
            services.npc-agent.enable = true; # which fleet it is, the machine is told when it is enrolled
            services.npc-agent.metadataForRootOnly = true; # the role's credentials are nobody else's business
          }
        ];
      };

      host = name: modules: machine (modules ++ [ { networking.hostName = name; } ]);

      web = {
        services.nginx.enable = true;
        npc.host.role = "web";
        npc.host.healthChecks.site = { type = "http"; url = "http://localhost/"; startPeriod = 20; };
      };
    in
    {
      nixosConfigurations = {
        web-1 = host "web-1" [ web ];
        web-2 = host "web-2" [ web ];
        db-1 = host "db-1" [ { services.postgresql.enable = true; } ];
        worker = machine [ { services.npc-agent.settings.host = null; } ]; # each is called by its instance
      };
    };
}
