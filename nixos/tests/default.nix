# Tests in virtual machines, for `nix flake check`.
{ pkgs, modules, packages }:
let
  arguments = {
    inherit pkgs modules packages;
    fleet = import ./fleet.nix { inherit pkgs; };
  };
in
{
  vm-follow = import ./follow.nix arguments;
  vm-private-input = import ./private-input.nix arguments;
}
