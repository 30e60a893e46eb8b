# The example, over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_s3_bucket" {
    defaults = { bucket_region = "us-west-2" }
  }
}

variables {
  bucket    = "everything-of-ours"
  subnet_id = "subnet-a"
  user_data = "#!/bin/sh\n"
}

run "everything_fits_together" {
  command = apply

  assert {
    condition     = output.store == "s3://everything-of-ours/npc/fleet?region=us-west-2"
    error_message = "The store is in the bucket's region."
  }

  assert {
    condition     = jsondecode(output.bucket_policy).Statement[1].Resource[0] == "arn:aws:s3:::everything-of-ours/npc/fleet/remotes/*"
    error_message = "What the bucket's policy should hold is told."
  }

  assert {
    condition     = !strcontains(output.publisher_policy, "kms:")
    error_message = "A bucket without a key needs none."
  }
}
