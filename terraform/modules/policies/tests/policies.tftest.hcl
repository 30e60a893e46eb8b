# What the policies say, and what the module refuses to make of its inputs. Whether they hold is tried at a server that enforces
# them, in tests/tests/policies.rs.

variables {
  bucket_arn = "arn:aws:s3:::my-bucket"
  prefix     = "fleet"
  hosts      = { web-1 = {}, w-7 = { assignment = "workers" } }
  groups     = ["batch"]
}

run "a_host_reads_its_own_assignment_and_writes_its_own_report" {
  command = apply

  assert {
    condition     = jsondecode(output.hosts["web-1"]).Statement[1].Resource == "arn:aws:s3:::my-bucket/fleet/assignments/web-1.json"
    error_message = "A host obeys the assignment of its own name."
  }

  assert {
    condition     = jsondecode(output.hosts["w-7"]).Statement[1].Resource == "arn:aws:s3:::my-bucket/fleet/assignments/workers.json"
    error_message = "A host obeys the assignment that it is told."
  }

  assert {
    condition     = jsondecode(output.hosts["w-7"]).Statement[2].Resource == "arn:aws:s3:::my-bucket/fleet/reports/w-7.json"
    error_message = "A host reports under its own name."
  }

  assert {
    condition     = jsondecode(output.groups["batch"]).Statement[2].Resource == "arn:aws:s3:::my-bucket/fleet/reports/batch-i-*.json"
    error_message = "A group's machines report under their instance ids."
  }
}

run "a_store_that_is_the_whole_bucket_has_no_prefix" {
  command = apply

  variables {
    prefix = ""
  }

  assert {
    condition     = jsondecode(output.hosts["web-1"]).Statement[2].Resource == "arn:aws:s3:::my-bucket/reports/web-1.json"
    error_message = "Without a prefix, objects lie at the top."
  }

  assert {
    condition     = !can(jsondecode(output.publisher).Statement[3].Condition) && jsondecode(output.publisher).Statement[3].Action == "s3:ListBucket"
    error_message = "Without a prefix, the whole bucket may be listed."
  }
}

run "pointers_are_written_under_a_condition_and_releases_created_once" {
  command = apply

  assert {
    condition = jsondecode(output.bucket).Statement[1] == {
      Sid       = "WritePointersOnlyUnderACondition"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Resource  = [for folder in ["remotes", "assignments", "rollouts"] : "arn:aws:s3:::my-bucket/fleet/${folder}/*"]
      Condition = {
        Null = { "s3:if-match" = "true", "s3:if-none-match" = "true" }
        Bool = { "s3:ObjectCreationOperation" = "true" }
      }
    }
    error_message = "A pointer must not be written without If-Match or If-None-Match."
  }

  assert {
    condition = jsondecode(output.bucket).Statement[2].Condition == {
      Null = { "s3:if-none-match" = "true" }
      Bool = { "s3:ObjectCreationOperation" = "true" }
    }
    error_message = "What has a history must not be written without If-None-Match."
  }

  assert {
    condition     = length([for statement in jsondecode(output.bucket).Statement : statement if statement.Effect != "Deny"]) == 0
    error_message = "The bucket's policy allows nobody anything."
  }
}

run "what_is_signed_is_removed_by_nobody" {
  command = apply

  assert {
    condition = jsondecode(output.bucket).Statement[3] == {
      Sid       = "RemoveNothingSigned"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      Resource  = [for folder in ["remotes", "assignments", "rollouts", "trust", "releases"] : "arn:aws:s3:::my-bucket/fleet/${folder}/*"]
    }
    error_message = "Neither a pointer nor what has a history is removed, nor any version of it."
  }
}

run "a_key_is_used_by_way_of_the_bucket_alone" {
  command = apply

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
  }

  assert {
    condition = alltrue([
      for policy in [output.hosts["web-1"], output.groups["batch"], output.publisher, output.keeper] :
      [for statement in jsondecode(policy).Statement : statement.Action if startswith(statement.Sid, "Decrypt") || startswith(statement.Sid, "Encrypt")]
      == ["kms:Decrypt", "kms:GenerateDataKey"]
    ])
    error_message = "Whoever writes needs the key to encrypt, and to decrypt."
  }

  assert {
    condition     = length([for statement in jsondecode(output.reader).Statement : statement if statement.Action == "kms:GenerateDataKey"]) == 0
    error_message = "Whoever only reads does not encrypt."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(output.hosts["web-1"]).Statement :
      statement.Resource == "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
      && statement.Condition.StringLike["kms:EncryptionContext:aws:s3:arn"] == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/fleet/*"]
      if startswith(statement.Action, "kms:")
    ])
    error_message = "The key is that of the bucket, for the store's objects."
  }
}

run "no_policy_names_a_key_that_is_not_there" {
  command = apply

  assert {
    condition     = !strcontains(join("", concat(values(output.hosts), values(output.groups), [output.publisher, output.reader, output.keeper])), "kms:")
    error_message = "Without a key, nobody needs one."
  }
}

run "what_is_no_bucket_is_refused" {
  command = plan

  variables {
    bucket_arn = "my-bucket"
  }

  expect_failures = [var.bucket_arn]
}

run "a_prefix_that_means_more_than_itself_is_refused" {
  command = plan

  variables {
    prefix = "fleet-*"
  }

  expect_failures = [var.prefix]
}

run "a_prefix_with_a_slash_at_its_end_is_refused" {
  command = plan

  variables {
    prefix = "fleet/"
  }

  expect_failures = [var.prefix]
}

run "an_alias_of_a_key_is_refused" {
  command = plan

  variables {
    kms_key_arn = "alias/store"
  }

  expect_failures = [var.kms_key_arn]
}

run "a_name_that_no_host_can_have_is_refused" {
  command = plan

  variables {
    hosts = { "Web_1*" = {} }
  }

  expect_failures = [var.hosts]
}

run "an_assignment_that_cannot_be_is_refused" {
  command = plan

  variables {
    hosts = { web-1 = { assignment = "*" } }
  }

  expect_failures = [var.hosts]
}

run "a_group_whose_machines_would_have_too_long_names_is_refused" {
  command = plan

  variables {
    groups = ["a2345678901234567890123456789012345678901234"]
  }

  expect_failures = [var.groups]
}

run "a_host_that_looks_like_a_machine_of_a_group_is_refused" {
  command = plan

  variables {
    hosts  = { "batch-i-love-you" = {} }
    groups = ["batch"]
  }

  expect_failures = [var.groups]
}
