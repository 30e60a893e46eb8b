# A database server: PostgreSQL on mirrored disks.
{ config, lib, ... }:
{
  npc.role = "db";
  npc.groups = [ "db" ];

  db.sharedBuffers = "1GB";

  # Huge pages given out behind its back cost PostgreSQL latency.
  boot.kernelParams = [ "transparent_hugepage=never" ];
  boot.initrd.kernelModules = [ "raid1" ];

  networking.firewall.allowedTCPPorts = [ 5432 ];

  environment.etc = {
    "postgresql/postgresql.conf".text = ''
      listen_addresses = '*'
      shared_buffers = ${config.db.sharedBuffers}
      wal_level = replica
    '';
    "postgresql/pg_hba.conf".text = ''
      local all all                peer
      host  app app 10.20.0.0/24   scram-sha-256
    '';
  };

  environment.systemPackages = [
    (lib.writeShellScriptBin "db-backup" ''
      echo "would back up ${config.networking.hostName}"
    '')
  ];
}
