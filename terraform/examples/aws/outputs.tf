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
