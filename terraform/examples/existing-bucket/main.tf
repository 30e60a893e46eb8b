# A store in a bucket that is there already and holds other things as well, and a host.

provider "aws" {
  region = var.region
}

# Where npc.toml lies, once there is one: imports go by it.
provider "npc" {
  flake = var.flake
}

module "store" {
  source = "../../modules/store"

  bucket        = var.bucket
  create_bucket = false
  prefix        = var.prefix
  kms_key_arn   = var.kms_key_arn
}

resource "npc_fleet" "main" {
  store = module.store.url
}

resource "npc_remote" "prod" {
  name  = "prod"
  flake = var.flake
  fleet = npc_fleet.main
}

resource "npc_host" "web_1" {
  name   = "web-1"
  remote = npc_remote.prod.name
  fleet  = npc_fleet.main
}

resource "npc_agent_binary" "x86_64" {
  architecture = "x86_64"
  source       = var.agent
  fleet        = npc_fleet.main
}

data "npc_bootstrap" "web_1" {
  host   = "web-1"
  remote = "prod"
  agents = { x86_64 = npc_agent_binary.x86_64.sha256 }
  fleet  = npc_fleet.main
}

module "host" {
  source = "../../modules/host"

  name      = npc_host.web_1.name
  store     = module.store.store
  user_data = data.npc_bootstrap.web_1.script
  subnet_id = var.subnet_id
}
