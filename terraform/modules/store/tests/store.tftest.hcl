# What the bucket is like, and whose policies there are; over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }

  mock_data "aws_s3_bucket" {
    defaults = { bucket_region = "us-west-2" }
  }
}

variables {
  bucket = "my-bucket"
  prefix = "fleet"
  tags   = { fleet = "ours" }
}

run "the_bucket_is_private_versioned_and_encrypted" {
  command = apply

  assert {
    condition     = aws_s3_bucket.store[0].bucket == "my-bucket" && aws_s3_bucket.store[0].force_destroy == false && aws_s3_bucket.store[0].tags == tomap({ fleet = "ours" })
    error_message = "It is the bucket that was asked for, and not destroyed with what is in it."
  }

  assert {
    condition = (
      aws_s3_bucket_public_access_block.store[0].block_public_acls
      && aws_s3_bucket_public_access_block.store[0].block_public_policy
      && aws_s3_bucket_public_access_block.store[0].ignore_public_acls
      && aws_s3_bucket_public_access_block.store[0].restrict_public_buckets
    )
    error_message = "Nothing in it can be made public."
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.store[0].skip_destroy
    error_message = "Not even when what else it has was destroyed, and the bucket could not be."
  }

  assert {
    condition     = one(aws_s3_bucket_ownership_controls.store[0].rule).object_ownership == "BucketOwnerEnforced"
    error_message = "There are no ACLs."
  }

  assert {
    condition     = one(aws_s3_bucket_versioning.store[0].versioning_configuration).status == "Enabled"
    error_message = "What is overwritten can be brought back."
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.store[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Without a key, S3 encrypts with its own."
  }

  assert {
    condition = alltrue([
      for made in [
        aws_s3_bucket_public_access_block.store[0].bucket,
        aws_s3_bucket_ownership_controls.store[0].bucket,
        aws_s3_bucket_versioning.store[0].bucket,
        aws_s3_bucket_server_side_encryption_configuration.store[0].bucket,
        aws_s3_bucket_lifecycle_configuration.store[0].bucket,
        aws_s3_bucket_policy.store[0].bucket,
      ] : made == "my-bucket"
    ])
    error_message = "All of it is said of the same bucket."
  }
}

run "nothing_current_goes_by_age" {
  command = apply

  variables {
    noncurrent_days = 7
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : (
        length(rule.transition) == 0
        && alltrue([for expiration in rule.expiration : expiration.expired_object_delete_marker == true])
      )
    ])
    error_message = "Age does not mean unused: of what is current, only the marks of what was removed go."
  }

  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : one(rule.noncurrent_version_expiration).noncurrent_days if length(rule.noncurrent_version_expiration) > 0] == [7]
    error_message = "What was overwritten goes after the days that were asked for."
  }

  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : one(rule.abort_incomplete_multipart_upload).days_after_initiation if length(rule.abort_incomplete_multipart_upload) > 0] == [1]
    error_message = "Broken uploads go."
  }

  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.store[0].rule : rule.status == "Enabled"])
    error_message = "Every rule is in force."
  }
}

run "the_bucket_has_its_policy" {
  command = apply

  assert {
    condition     = aws_s3_bucket_policy.store[0].policy == output.policies.bucket
    error_message = "The bucket's policy is the one that is shown."
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.store[0].policy).Statement[0] == {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
    error_message = "Nothing is answered without TLS."
  }

  assert {
    condition = [for statement in jsondecode(aws_s3_bucket_policy.store[0].policy).Statement : statement.Sid] == [
      "TlsOnly", "WritePointersOnlyUnderACondition", "CreateReleasesAndTrustOnce", "RemoveNothingSigned"
    ]
    error_message = "Pointers are written under a condition."
  }
}

run "npc_is_told_where_the_store_is" {
  command = apply

  assert {
    condition     = output.url == "s3://my-bucket/fleet?region=eu-central-1"
    error_message = "The address is in npc's form."
  }

  assert {
    condition     = jsonencode(output.store) == jsonencode({ bucket_arn = "arn:aws:s3:::my-bucket", prefix = "fleet", kms_key_arn = null })
    error_message = "Hosts are told what their policies are made of."
  }
}

run "a_key_encrypts_and_is_the_buckets_own" {
  command = apply

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
  }

  assert {
    condition = one(aws_s3_bucket_server_side_encryption_configuration.store[0].rule).bucket_key_enabled && one(one(aws_s3_bucket_server_side_encryption_configuration.store[0].rule).apply_server_side_encryption_by_default) == {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
    }
    error_message = "The key encrypts, by way of a bucket key."
  }

  assert {
    condition     = strcontains(output.policies.publisher, "kms:GenerateDataKey") && output.store.kms_key_arn != null
    error_message = "Whoever writes may use it."
  }
}

run "hosts_elsewhere_have_policies_too" {
  command = apply

  variables {
    hosts  = { rack-1 = { assignment = "racks" } }
    groups = ["pods"]
  }

  assert {
    condition     = jsondecode(output.policies.hosts["rack-1"]).Statement[1].Resource == "arn:aws:s3:::my-bucket/fleet/assignments/racks.json"
    error_message = "A host reads its assignment."
  }

  assert {
    condition     = jsondecode(output.policies.groups["pods"]).Statement[2].Resource == "arn:aws:s3:::my-bucket/fleet/reports/pods-i-*.json"
    error_message = "A group reports."
  }
}

run "a_bucket_that_is_there_already_is_left_as_it_is" {
  command = apply

  state_key = "existing"

  variables {
    create_bucket = false
  }

  assert {
    condition = 0 == length(concat(
      aws_s3_bucket.store,
      aws_s3_bucket_public_access_block.store,
      aws_s3_bucket_ownership_controls.store,
      aws_s3_bucket_versioning.store,
      aws_s3_bucket_server_side_encryption_configuration.store,
      aws_s3_bucket_lifecycle_configuration.store,
      aws_s3_bucket_policy.store,
    ))
    error_message = "Nothing is made, nor changed."
  }

  assert {
    condition     = output.url == "s3://my-bucket/fleet?region=us-west-2"
    error_message = "The region is the bucket's own."
  }

  assert {
    condition     = length(jsondecode(output.policies.bucket).Statement) == 4
    error_message = "What the bucket's policy should hold is told."
  }
}

run "other_partitions_have_other_arns" {
  command = plan

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws-cn" }
  }

  assert {
    condition     = output.arn == "arn:aws-cn:s3:::my-bucket"
    error_message = "The ARN is that of the partition, and known in a plan."
  }

  assert {
    condition     = strcontains(output.policies.publisher, "arn:aws-cn:s3:::my-bucket/fleet/*")
    error_message = "So are those in policies."
  }
}

run "a_name_that_no_bucket_can_have_is_refused" {
  command = plan

  variables {
    bucket = "My_Bucket"
  }

  expect_failures = [var.bucket]
}

run "a_prefix_that_begins_with_a_slash_is_refused" {
  command = plan

  variables {
    prefix = "/fleet"
  }

  expect_failures = [var.prefix]
}

run "an_alias_of_a_key_is_refused" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:alias/store"
  }

  expect_failures = [var.kms_key_arn]
}

run "a_part_of_a_day_is_refused" {
  command = plan

  variables {
    noncurrent_days = 0.5
  }

  expect_failures = [var.noncurrent_days]
}
