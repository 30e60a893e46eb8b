# A fleet on AWS: a store, a flake published to two remotes, three hosts that follow them, and a group of workers that come and go.

provider "aws" {
  region = var.region
}

# Where npc.toml lies, once there is one: imports go by it.
provider "npc" {
  flake = var.flake
}

module "store" {
  source = "../../modules/store"

  bucket = var.bucket
  prefix = "fleet"
}

resource "npc_fleet" "main" {
  store = module.store.url
}

resource "npc_remote" "this" {
  for_each = toset(["prod", "canary"])

  name  = each.key
  flake = var.flake
  fleet = npc_fleet.main
}

resource "npc_agent_binary" "x86_64" {
  architecture = "x86_64"
  source       = var.agent
  fleet        = npc_fleet.main
}

# What each host follows. Moving one is a change of one word.
locals {
  hosts = {
    web-1 = { remote = "prod" }
    web-2 = { remote = "canary" }
    db-1  = { remote = "prod", root_disk = { size = 100 } }
  }
}

resource "npc_host" "this" {
  for_each = local.hosts

  name   = each.key
  remote = npc_remote.this[each.value.remote].name
  fleet  = npc_fleet.main
}

# What a host follows until it has read what it is assigned to. Plain names: user data change with the fleet and the agent, and not
# with every release.
data "npc_bootstrap" "host" {
  for_each = local.hosts

  host   = each.key
  remote = "prod"
  agents = { x86_64 = npc_agent_binary.x86_64.sha256 }
  fleet  = npc_fleet.main
}

# All workers share one assignment, and report under their instance ids.
resource "npc_host" "workers" {
  name          = "workers"
  configuration = var.worker_configuration
  remote        = npc_remote.this["prod"].name
  shared        = true
  fleet         = npc_fleet.main
}

data "npc_bootstrap" "workers" {
  group         = "workers"
  configuration = var.worker_configuration
  remote        = "prod"
  agents        = { x86_64 = npc_agent_binary.x86_64.sha256 }
  fleet         = npc_fleet.main
}

module "hosts" {
  source = "../../modules/hosts"

  store      = module.store.store
  subnet_ids = var.subnet_ids

  hosts = {
    for name, host in local.hosts : name => {
      user_data = data.npc_bootstrap.host[name].script
      root_disk = try(host.root_disk, null)
    }
  }

  groups = {
    workers = { user_data = data.npc_bootstrap.workers.script, min_size = 0, max_size = 4, desired_capacity = 1 }
  }
}

# Whoever publishes, such as CI, signs in as this role.
resource "aws_iam_role_policy" "publisher" {
  count = var.publisher_role == null ? 0 : 1

  name   = "npc-publisher"
  role   = var.publisher_role
  policy = module.store.policies.publisher
}
