# A fleet of machines that Terraform does not make: at home, in a rack, on desks. Each is given the script that is rendered for it.

# Where npc.toml lies, once there is one: imports go by it.
provider "npc" {
  flake = var.flake
}

resource "npc_fleet" "main" {
  store = var.store
}

resource "npc_remote" "this" {
  for_each = toset(["prod", "canary"])

  name  = each.key
  flake = var.flake
  fleet = npc_fleet.main
}

resource "npc_agent_binary" "this" {
  for_each = var.agents

  architecture = each.key
  source       = each.value
  fleet        = npc_fleet.main
}

# What each host follows. Moving one is a change of one word.
locals {
  hosts = {
    web-1 = { remote = "prod" }
    web-2 = { remote = "prod" }
    db-1  = { remote = "prod" }
  }
}

resource "npc_host" "this" {
  for_each = local.hosts

  name   = each.key
  remote = npc_remote.this[each.value.remote].name
  fleet  = npc_fleet.main
}

# What a host follows until it has read what it is assigned to. Plain names: a script changes with the fleet and the agent, and not
# with every release.
data "npc_bootstrap" "this" {
  for_each = local.hosts

  host   = each.key
  remote = "prod"
  agents = { for architecture, agent in npc_agent_binary.this : architecture => agent.sha256 }
  fleet  = npc_fleet.main
}
