output "scripts" {
  description = "What makes each machine a host, run there as root or given as its user data. They hold no secrets."
  value       = { for host, rendered in data.npc_bootstrap.this : host => rendered.script }
}

output "npc_toml" {
  description = "What npc-publish needs beside the flake, as npc.toml."
  value       = npc_fleet.main.npc_toml
}
