# The example, over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
}

variables {
  bucket     = "example-of-a-fleet"
  subnet_ids = ["subnet-a", "subnet-b"]
  user_data  = { web-1 = "one", web-2 = "two", db-1 = "three", workers = "four" }
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
