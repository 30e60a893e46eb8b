# A store: a bucket that holds releases for as long as somebody needs them, and shows them to nobody else.

data "aws_partition" "current" {}

data "aws_region" "current" {}

# Fails where there is no such bucket; S3 answers for its region.
data "aws_s3_bucket" "existing" {
  count  = var.create_bucket ? 0 : 1
  bucket = var.bucket
}

locals {
  # Known before the bucket is there, so that a plan shows the policies.
  arn    = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}"
  region = var.create_bucket ? data.aws_region.current.region : data.aws_s3_bucket.existing[0].bucket_region
}

module "policies" {
  source = "../policies"

  bucket_arn  = local.arn
  prefix      = var.prefix
  kms_key_arn = var.kms_key_arn
  hosts       = var.hosts
  groups      = var.groups
}

resource "aws_s3_bucket" "store" {
  count = var.create_bucket ? 1 : 0

  bucket        = var.bucket
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "store" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.store[0].bucket
  # It goes with the bucket: a bucket that cannot be destroyed, as there is something in it, stays private.
  skip_destroy            = true
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Policies alone say who may do what: there are no ACLs.
resource "aws_s3_bucket_ownership_controls" "store" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.store[0].bucket

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "store" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.store[0].bucket

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.store[0].bucket

  rule {
    # Agents poll: with a key of the bucket's own, KMS is not asked for each object.
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# An archive that nobody has published for a year may be what every host runs: age does not mean unused, and `npc-publish gc`
# knows what is. Only what was overwritten, removed or never finished goes by age.
resource "aws_s3_bucket_lifecycle_configuration" "store" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket_versioning.store[0].bucket

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    # The mark that something was removed, once no version of that is left.
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "broken-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  count = var.create_bucket ? 1 : 0

  # S3 refuses two changes to a bucket's access at once.
  bucket = aws_s3_bucket_public_access_block.store[0].bucket
  policy = module.policies.bucket
}
