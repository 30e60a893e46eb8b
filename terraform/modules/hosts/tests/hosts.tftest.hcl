# Many hosts and groups at once, and what they have in common; over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_ami_ids" {
    defaults = { ids = ["ami-0123456789abcdef0", "ami-0000000000000000a"] }
  }

  mock_data "aws_ec2_instance_type" {
    defaults = { supported_architectures = ["x86_64"] }
  }

  mock_data "aws_subnet" {
    defaults = { vpc_id = "vpc-0123" }
  }
}

variables {
  store      = { bucket_arn = "arn:aws:s3:::my-bucket", prefix = "fleet" }
  subnet_ids = ["subnet-a", "subnet-b"]
}

run "every_host_is_a_machine_of_its_own" {
  command = apply

  variables {
    hosts = {
      web-1 = { user_data = "one" }
      web-2 = { user_data = "two", assignment = "webs" }
      db-1 = {
        user_data     = sensitive("three")
        instance_type = "r7i.large"
        subnet_id     = "subnet-c"
        ami           = "ami-0fedcba9876543210"
        root_disk     = { size = 100 }
        tags          = { role = "db" }
      }
    }
    tags = { fleet = "ours" }
  }

  assert {
    condition     = keys(output.hosts) == ["db-1", "web-1", "web-2"] && length(distinct([for host in output.hosts : host.instance_id])) == 3 && length(distinct([for host in output.hosts : host.role.arn])) == 3
    error_message = "Each has a machine and a role of its own."
  }

  assert {
    condition     = { for name, host in output.hosts : name => host.assignment } == { db-1 = "db-1", web-1 = "web-1", web-2 = "webs" }
    error_message = "Each obeys its own assignment, unless said."
  }

  assert {
    condition = jsonencode(output.hosts["web-1"].machine) == jsonencode({
      ami           = "ami-0123456789abcdef0"
      instance_type = "t3.medium"
      subnet_id     = "subnet-a"
      root_disk     = { encrypted = true, kms_key_id = null, size = 20, type = "gp3" }
      tags          = { fleet = "ours", Name = "web-1" }
    })
    error_message = "A host has what all of them have."
  }

  assert {
    condition = jsonencode(output.hosts["db-1"].machine) == jsonencode({
      ami           = "ami-0fedcba9876543210"
      instance_type = "r7i.large"
      subnet_id     = "subnet-c"
      root_disk     = { encrypted = true, kms_key_id = null, size = 100, type = "gp3" }
      tags          = { fleet = "ours", role = "db", Name = "db-1" }
    })
    error_message = "What is said of a host alone comes first."
  }
}

run "what_is_said_of_a_disk_is_added_to_what_all_disks_have" {
  command = apply

  variables {
    root_disk = { size = 50, kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }

    hosts = {
      web-1 = { user_data = "one" }
      db-1  = { user_data = "two", root_disk = { size = 100 } }
      db-2  = { user_data = "three", root_disk = null }
    }

    groups = {
      workers = { user_data = "worker", min_size = 1, root_disk = { type = "gp2" } }
    }
  }

  assert {
    condition = jsonencode({ for name, host in output.hosts : name => host.machine.root_disk }) == jsonencode({
      web-1 = { encrypted = true, kms_key_id = var.root_disk.kms_key_id, size = 50, type = "gp3" }
      db-1  = { encrypted = true, kms_key_id = var.root_disk.kms_key_id, size = 100, type = "gp3" }
      db-2  = { encrypted = true, kms_key_id = var.root_disk.kms_key_id, size = 50, type = "gp3" }
    })
    error_message = "A host's larger disk has the key of all disks."
  }

  assert {
    condition     = jsonencode(output.groups.workers.machine.root_disk) == jsonencode({ encrypted = true, kms_key_id = var.root_disk.kms_key_id, size = 50, type = "gp2" })
    error_message = "So have a group's disks."
  }
}

run "a_group_is_many_machines" {
  command = apply

  variables {
    groups = {
      workers = { user_data = "worker", min_size = 2, max_size = 10 }
    }
  }

  assert {
    condition     = keys(output.groups) == ["workers"] && output.groups.workers.autoscaling_group != ""
    error_message = "It is an auto-scaling group."
  }

  assert {
    condition = jsonencode(merge(output.groups.workers.machine, { subnet_ids = sort(output.groups.workers.machine.subnet_ids) })) == jsonencode({
      ami           = "ami-0123456789abcdef0"
      instance_type = "t3.medium"
      subnet_ids    = ["subnet-a", "subnet-b"]
      root_disk     = { encrypted = true, kms_key_id = null, size = 20, type = "gp3" }
      tags          = { Name = "workers" }
    })
    error_message = "It has what all machines have, in every subnet."
  }
}

run "a_group_has_what_is_said_of_it_alone" {
  command = apply

  variables {
    groups = {
      workers = {
        user_data     = "worker"
        min_size      = 2
        instance_type = "c7g.large"
        subnet_ids    = ["subnet-c"]
        ami           = "ami-0fedcba9876543210"
        root_disk     = { size = 50 }
        tags          = { role = "worker" }
      }
    }
  }

  assert {
    condition = jsonencode(merge(output.groups.workers.machine, { subnet_ids = sort(output.groups.workers.machine.subnet_ids) })) == jsonencode({
      ami           = "ami-0fedcba9876543210"
      instance_type = "c7g.large"
      subnet_ids    = ["subnet-c"]
      root_disk     = { encrypted = true, kms_key_id = null, size = 50, type = "gp3" }
      tags          = { role = "worker", Name = "workers" }
    })
    error_message = "What is said of a group alone comes first."
  }
}

run "hosts_without_a_subnet_are_refused" {
  command = plan

  variables {
    subnet_ids = []
    hosts      = { web-1 = { user_data = "one", subnet_id = "subnet-c" }, web-2 = { user_data = "two" } }
  }

  expect_failures = [var.subnet_ids]
}

run "a_host_that_looks_like_a_machine_of_a_group_is_refused" {
  command = plan

  variables {
    hosts  = { workers-i-0123 = { user_data = "one" } }
    groups = { workers = { user_data = "worker", min_size = 1 } }
  }

  expect_failures = [var.groups]
}

run "a_host_and_a_group_of_one_name_are_refused" {
  command = plan

  variables {
    hosts  = { workers = { user_data = "one" } }
    groups = { workers = { user_data = "worker", min_size = 1 } }
  }

  expect_failures = [var.groups]
}

run "a_group_without_subnets_is_refused" {
  command = plan

  variables {
    subnet_ids = []
    groups     = { workers = { user_data = "worker", min_size = 1, subnet_ids = [] } }
  }

  expect_failures = [var.subnet_ids]
}
