{ ... }: { networking.hostName = "host"; }
