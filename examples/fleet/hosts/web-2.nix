# web-2: gets the next release ahead of the others.
{ ... }:
{
  imports = [ ../modules/roles/web.nix ];

  networking.hostName = "web-2";
  npc.groups = [ "canary" ];

  web.release = "next";
  web.workers = 4;

  environment.etc."nginx/canary.conf".text = ''
    add_header X-Canary web-2;
  '';

  # Lets the host build and then fail to activate, to watch it roll back.
  # activation.fail = true;
}
