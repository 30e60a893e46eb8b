output "bucket" {
  description = "Name of the bucket."
  value       = var.bucket
}

output "arn" {
  description = "ARN of the bucket."
  value       = local.arn
}

output "region" {
  description = "Region of the bucket."
  value       = local.region
}

output "prefix" {
  description = "Where the store is in the bucket."
  value       = var.prefix
}

output "url" {
  description = "Address of the store, as npc takes it."
  value       = "s3://${var.bucket}/${var.prefix}?region=${local.region}"

  # Whoever publishes or polls finds the bucket as it is meant to be.
  depends_on = [
    aws_s3_bucket_lifecycle_configuration.store,
    aws_s3_bucket_ownership_controls.store,
    aws_s3_bucket_policy.store,
    aws_s3_bucket_server_side_encryption_configuration.store,
    aws_s3_bucket_versioning.store,
  ]
}

output "policies" {
  description = "JSON of policies: `publisher`, `reader`, `keeper`, `bucket` (which a bucket made here has already), and by name those of `hosts` and `groups`."
  value = {
    publisher = module.policies.publisher
    reader    = module.policies.reader
    keeper    = module.policies.keeper
    bucket    = module.policies.bucket
    hosts     = module.policies.hosts
    groups    = module.policies.groups
  }
}

output "store" {
  description = "What the modules `host` and `hosts` must know of the store."
  value = {
    bucket_arn  = local.arn
    prefix      = var.prefix
    kms_key_arn = var.kms_key_arn
  }
}
