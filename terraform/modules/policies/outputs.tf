output "hosts" {
  description = "For each host, the JSON of a policy: read what every host reads and its own assignment, write its own report."
  value       = local.machines["hosts"]
}

output "groups" {
  description = "For each group, the JSON of a policy for its one role: as for a host, with the reports of all of its machines."
  value       = local.machines["groups"]
}

output "publisher" {
  description = "JSON of a policy for whoever publishes and assigns: read everything, write all but reports, remove only what it tried out."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        local.read_everything,
        {
          Sid      = "WriteAllButReports"
          Effect   = "Allow"
          Action   = "s3:PutObject"
          Resource = local.published
        },
        {
          Sid      = "RemoveWhatItTriedOut"
          Effect   = "Allow"
          Action   = "s3:DeleteObject"
          Resource = "${local.objects}/probe/*"
        },
        local.list,
      ],
      local.decrypt,
      local.encrypt,
    )
  })
}

output "reader" {
  description = "JSON of a policy for whoever looks at hosts, releases and reports, and changes nothing."
  value = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.read_everything, local.list], local.decrypt)
  })
}

output "keeper" {
  description = "JSON of a policy for whoever runs `gc --yes` and `hosts forget`: read everything, remove archives and reports."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        local.read_everything,
        {
          Sid      = "RemoveWhatNobodyNeeds"
          Effect   = "Allow"
          Action   = "s3:DeleteObject"
          Resource = [for folder in ["archives", "reports", "probe"] : "${local.objects}/${folder}/*"]
        },
        {
          Sid      = "FindOutTheTime"
          Effect   = "Allow"
          Action   = "s3:PutObject"
          Resource = "${local.objects}/probe/*"
        },
        local.list,
      ],
      local.decrypt,
      local.encrypt,
    )
  })
}

output "bucket" {
  description = "JSON of the bucket's own policy: TLS only, pointers written only under a condition, documents with a history only created, neither removed."
  value = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [var.bucket_arn, "${var.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      # The parts of a multipart upload take no conditions; its completion does, and is an "object creation operation"
      # (Amazon S3 User Guide, "Enforce conditional writes on Amazon S3 buckets").
      {
        Sid       = "WritePointersOnlyUnderACondition"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = [for folder in ["remotes", "assignments", "rollouts"] : "${local.objects}/${folder}/*"]
        Condition = {
          Null = { "s3:if-match" = "true", "s3:if-none-match" = "true" }
          Bool = { "s3:ObjectCreationOperation" = "true" }
        }
      },
      {
        Sid       = "CreateReleasesAndTrustOnce"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = [for folder in ["trust", "releases"] : "${local.objects}/${folder}/*"]
        Condition = {
          Null = { "s3:if-none-match" = "true" }
          Bool = { "s3:ObjectCreationOperation" = "true" }
        }
      },
      # npc writes tombstones in place of removing. Lifecycle rules are not held by a bucket's policy, and end old versions as ever
      # (Amazon S3 User Guide, "Lifecycle and other bucket configurations").
      {
        Sid       = "RemoveNothingSigned"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
        Resource  = [for folder in ["remotes", "assignments", "rollouts", "trust", "releases"] : "${local.objects}/${folder}/*"]
      },
    ]
  })
}
