# A fleet on AWS: a store, three hosts, and a group of workers that come and go.

provider "aws" {
  region = var.region
}

module "store" {
  source = "../../modules/store"

  bucket = var.bucket
  prefix = "fleet"
}

module "hosts" {
  source = "../../modules/hosts"

  store      = module.store.store
  subnet_ids = var.subnet_ids

  hosts = {
    web-1 = { user_data = var.user_data["web-1"] }
    web-2 = { user_data = var.user_data["web-2"] }
    db-1  = { user_data = var.user_data["db-1"], root_disk = { size = 100 } }
  }

  groups = {
    workers = { user_data = var.user_data["workers"], min_size = 0, max_size = 4, desired_capacity = 1 }
  }
}

# Whoever publishes, such as CI, signs in as this role.
resource "aws_iam_role_policy" "publisher" {
  count = var.publisher_role == null ? 0 : 1

  name   = "npc-publisher"
  role   = var.publisher_role
  policy = module.store.policies.publisher
}
