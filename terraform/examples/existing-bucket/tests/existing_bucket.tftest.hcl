# The example, over providers that make nothing.

mock_provider "aws" {
  mock_data "aws_ami_ids" {
    defaults = { ids = ["ami-0123456789abcdef0"] }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_s3_bucket" {
    defaults = { bucket_region = "us-west-2" }
  }
}

# What is made up must still be in order: the provider checks it.
mock_provider "npc" {
  mock_resource "npc_fleet" {
    defaults = {
      id             = "0123456789abcdef0123456789abcdef"
      root_keys      = ["npc-root-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="]
      root_threshold = 1
    }
  }

  mock_resource "npc_agent_binary" {
    defaults = { sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
}

variables {
  bucket    = "everything-of-ours"
  subnet_id = "subnet-a"
  flake     = "flake"
  agent     = "agent"
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
