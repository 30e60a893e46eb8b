# A web server: nginx in front of the application.
{ config, lib, ... }:
{
  npc.role = "web";
  npc.groups = [ "web" ];

  web.workers = 2;
  web.release = "stable";

  networking.firewall.allowedTCPPorts = [ 80 443 ];

  environment.etc."nginx/nginx.conf".text = ''
    worker_processes ${toString config.web.workers};
    events { worker_connections 1024; }
    http {
      server {
        listen 80 default_server;
        server_name ${config.networking.hostName};
        root /srv/www/${config.web.release};
      }
    }
  '';

  environment.systemPackages = [
    (lib.writeShellScriptBin "web-release" ''
      echo "${config.web.release}"
    '')
  ];
}
