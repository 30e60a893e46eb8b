# db-1: the only database, on a host with 32 GB of memory.
{ ... }:
{
  imports = [ ../modules/roles/db.nix ];

  networking.hostName = "db-1";

  db.sharedBuffers = "8GB";
}
