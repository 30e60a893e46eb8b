output "store" {
  description = "The store, for NPC_STORE."
  value       = module.store.url
}

output "publisher_policy" {
  description = "What whoever publishes must be allowed."
  value       = module.store.policies.publisher
}

output "bucket_policy" {
  description = "What to add to the bucket's own policy. A bucket has one policy, which other things in it may need: it is left to you."
  value       = module.store.policies.bucket
}

output "npc_toml" {
  description = "What npc-publish needs beside the flake, as npc.toml."
  value       = npc_fleet.main.npc_toml
}
