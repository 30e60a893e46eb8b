output "store" {
  description = "The store, for NPC_STORE."
  value       = module.store.url
}

output "hosts" {
  description = "The machines."
  value       = module.hosts.hosts
}

output "groups" {
  description = "The groups of machines."
  value       = module.hosts.groups
}

output "npc_toml" {
  description = "What npc-publish needs beside the flake, as npc.toml."
  value       = npc_fleet.main.npc_toml
}
