# What the policies of a store are made of. Nothing is created here: S3 and IAM get these texts from whoever uses the module.

locals {
  objects = var.prefix == "" ? var.bucket_arn : "${var.bucket_arn}/${var.prefix}"

  # What every host may read: signed, and no secret from any of them.
  shared = [for folder in ["trust", "remotes", "releases", "archives", "binaries"] : "${local.objects}/${folder}/*"]

  # All that publishing writes. Hosts write their reports themselves; `probe` is where a store's abilities are tried out.
  published = [
    for folder in ["trust", "remotes", "releases", "archives", "assignments", "rollouts", "binaries", "probe"] :
    "${local.objects}/${folder}/*"
  ]

  read_everything = {
    Sid      = "ReadEverything"
    Effect   = "Allow"
    Action   = "s3:GetObject"
    Resource = "${local.objects}/*"
  }

  list = merge(
    {
      Sid      = "List"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = var.bucket_arn
    },
    var.prefix == "" ? {} : { Condition = { StringLike = { "s3:prefix" = "${var.prefix}/*" } } },
  )

  # S3 asks KMS in the caller's name, in the context of the object, or of the bucket where that has a bucket key
  # (Amazon S3 User Guide, "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys").
  by_way_of_the_bucket = {
    StringLike = {
      "kms:ViaService"                   = "s3.*.amazonaws.com*"
      "kms:EncryptionContext:aws:s3:arn" = [var.bucket_arn, "${local.objects}/*"]
    }
  }

  decrypt = var.kms_key_arn == null ? [] : [{
    Sid       = "Decrypt"
    Effect    = "Allow"
    Action    = "kms:Decrypt"
    Resource  = var.kms_key_arn
    Condition = local.by_way_of_the_bucket
  }]

  encrypt = var.kms_key_arn == null ? [] : [{
    Sid       = "Encrypt"
    Effect    = "Allow"
    Action    = "kms:GenerateDataKey"
    Resource  = var.kms_key_arn
    Condition = local.by_way_of_the_bucket
  }]
}

# What each machine, or group of machines, reads and writes beside what all of them read.
locals {
  hosts = {
    for name, host in var.hosts : name => {
      assignment = "${local.objects}/assignments/${host.assignment == null ? name : host.assignment}.json"
      report     = "${local.objects}/reports/${name}.json"
    }
  }

  # IAM cannot tell the machines of a group apart, which have one role between them.
  groups = {
    for name in var.groups : name => {
      assignment = "${local.objects}/assignments/${name}.json"
      report     = "${local.objects}/reports/${name}-i-*.json"
    }
  }

  machines = {
    for kind, machines in { hosts = local.hosts, groups = local.groups } : kind => {
      for name, own in machines : name => jsonencode({
        Version = "2012-10-17"
        Statement = concat(
          [
            {
              Sid      = "ReadWhatEveryHostReads"
              Effect   = "Allow"
              Action   = "s3:GetObject"
              Resource = local.shared
            },
            {
              Sid      = "ReadItsAssignment"
              Effect   = "Allow"
              Action   = "s3:GetObject"
              Resource = own.assignment
            },
            {
              Sid      = "WriteItsReport"
              Effect   = "Allow"
              Action   = "s3:PutObject"
              Resource = own.report
            },
          ],
          local.decrypt,
          local.encrypt,
        )
      })
    }
  }
}
