# A store in a bucket that is there already and holds other things as well, and a host.

provider "aws" {
  region = var.region
}

module "store" {
  source = "../../modules/store"

  bucket        = var.bucket
  create_bucket = false
  prefix        = var.prefix
  kms_key_arn   = var.kms_key_arn
}

module "host" {
  source = "../../modules/host"

  name      = "web-1"
  store     = module.store.store
  user_data = var.user_data
  subnet_id = var.subnet_id
}
