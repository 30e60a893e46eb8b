# web-1: serves the stable release.
{ ... }:
{
  imports = [ ../modules/roles/web.nix ];

  networking.hostName = "web-1";
}
