# The example, over providers that make nothing.

mock_provider "aws" {
  mock_data "aws_ami_ids" {
    defaults = { ids = ["ami-0123456789abcdef0"] }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
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
  bucket     = "example-of-a-fleet"
  subnet_ids = ["subnet-a", "subnet-b"]
  flake      = "flake"
  agent      = "agent"
}

run "everything_fits_together" {
  command = apply

  assert {
    condition     = output.store == "s3://example-of-a-fleet/fleet?region=eu-central-1"
    error_message = "There is a store."
  }

  assert {
    condition     = keys(output.hosts) == ["db-1", "web-1", "web-2"] && keys(output.groups) == ["workers"]
    error_message = "There are three hosts and a group."
  }

  assert {
    condition     = { for name, host in npc_host.this : name => host.remote } == { web-1 = "prod", web-2 = "canary", db-1 = "prod" }
    error_message = "Each host follows the remote that is said for it."
  }

  assert {
    condition     = npc_fleet.main.store == output.store && npc_remote.this["prod"].fleet.store == output.store
    error_message = "Everything is in the store that is made here."
  }

  assert {
    condition     = length(aws_iam_role_policy.publisher) == 0
    error_message = "Nobody publishes unless said."
  }
}

run "a_role_that_publishes_may_do_so" {
  command = apply

  variables {
    publisher_role = "ci"
  }

  assert {
    condition     = aws_iam_role_policy.publisher[0].role == "ci" && strcontains(aws_iam_role_policy.publisher[0].policy, "arn:aws:s3:::example-of-a-fleet/fleet/remotes/*")
    error_message = "The role has the policy."
  }
}
