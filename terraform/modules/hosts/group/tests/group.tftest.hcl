# How a group's machines are made; over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_subnet" {
    defaults = { vpc_id = "vpc-0123" }
  }
}

variables {
  name          = "workers"
  store         = { bucket_arn = "arn:aws:s3:::my-bucket", prefix = "fleet" }
  user_data     = "#!/bin/sh\n"
  min_size      = 2
  max_size      = 10
  subnet_ids    = ["subnet-a", "subnet-b"]
  instance_type = "t3.medium"
  ami           = "ami-0fedcba9876543210"
  nixos_release = "26.05"
  root_disk     = { size = 20 }
  tags          = { fleet = "ours" }
}

run "machines_are_made_from_the_newest_template" {
  command = apply

  assert {
    condition     = one(aws_autoscaling_group.group.launch_template) == merge(one(aws_autoscaling_group.group.launch_template), { id = aws_launch_template.group.id, version = "$Latest" })
    error_message = "A change of user data or image holds for machines that come."
  }

  assert {
    condition     = length(aws_autoscaling_group.group.instance_refresh) == 0
    error_message = "And leaves alone those that are there, which manage themselves."
  }

  assert {
    condition     = aws_autoscaling_group.group.min_size == 2 && aws_autoscaling_group.group.max_size == 10 && toset(aws_autoscaling_group.group.vpc_zone_identifier) == toset(["subnet-a", "subnet-b"])
    error_message = "There are as many as were asked for, where they were asked for."
  }

  assert {
    condition     = { for tag in aws_autoscaling_group.group.tag : tag.key => tag.value if tag.propagate_at_launch } == { fleet = "ours", Name = "workers" }
    error_message = "Machines have the group's tags."
  }
}

run "the_template_is_as_a_hosts_machine" {
  command = apply

  assert {
    condition     = aws_launch_template.group.image_id == "ami-0fedcba9876543210" && base64decode(aws_launch_template.group.user_data) == "#!/bin/sh\n"
    error_message = "It starts what it was told to start; a template takes user data in base64."
  }

  assert {
    condition = (
      aws_launch_template.group.metadata_options[0].http_tokens == "required"
      && aws_launch_template.group.metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "Metadata are had with a token, by the machine alone."
  }

  assert {
    condition = (
      aws_launch_template.group.block_device_mappings[0].device_name == "/dev/xvda"
      && aws_launch_template.group.block_device_mappings[0].ebs[0].volume_size == 20
      && tobool(aws_launch_template.group.block_device_mappings[0].ebs[0].encrypted)
    )
    error_message = "The root disk is the one that NixOS's images start from."
  }

  assert {
    condition     = tolist(aws_launch_template.group.vpc_security_group_ids) == tolist(output.security_group_ids) && aws_launch_template.group.iam_instance_profile[0].name != ""
    error_message = "It has credentials, and the security group that lets nothing in."
  }
}

run "their_disks_are_encrypted_with_the_key_that_was_given" {
  command = apply

  variables {
    root_disk = { kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }
  }

  assert {
    condition     = aws_launch_template.group.block_device_mappings[0].ebs[0].kms_key_id == "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"
    error_message = "The key encrypts."
  }
}

run "its_machines_write_their_reports_and_read_their_assignment" {
  command = apply

  assert {
    condition = [for statement in jsondecode(output.policy).Statement : statement.Resource if statement.Sid != "ReadWhatEveryHostReads"] == [
      "arn:aws:s3:::my-bucket/fleet/assignments/workers.json",
      "arn:aws:s3:::my-bucket/fleet/reports/workers-i-*.json",
    ]
    error_message = "They share an assignment, and report under their instance ids."
  }
}

run "a_group_without_an_image_is_refused" {
  command = plan

  variables {
    ami = null
  }

  expect_failures = [aws_launch_template.group]
}

run "fewer_than_at_least_are_refused" {
  command = plan

  variables {
    max_size = 1
  }

  expect_failures = [var.max_size]
}

run "too_much_user_data_is_refused" {
  command = plan

  variables {
    user_data = "#${format("%16384s", "")}"
  }

  expect_failures = [var.user_data]
}

run "a_disk_without_room_for_two_systems_is_refused" {
  command = plan

  variables {
    root_disk = { size = 4 }
  }

  expect_failures = [var.root_disk]
}

run "an_alias_of_a_key_is_refused" {
  command = plan

  variables {
    root_disk = { kms_key_id = "alias/disks" }
  }

  expect_failures = [var.root_disk]
}

run "the_id_of_a_key_alone_is_refused" {
  command = plan

  variables {
    root_disk = { kms_key_id = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }
  }

  expect_failures = [var.root_disk]
}

run "a_key_that_encrypts_nothing_is_refused" {
  command = plan

  variables {
    root_disk = { encrypted = false, kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }
  }

  expect_failures = [var.root_disk]
}

run "a_disk_that_no_machine_boots_from_is_refused" {
  command = plan

  variables {
    root_disk = { type = "st1" }
  }

  expect_failures = [var.root_disk]
}

run "more_than_at_most_are_refused" {
  command = plan

  variables {
    desired_capacity = 11
  }

  expect_failures = [var.desired_capacity]
}

run "fewer_machines_than_at_least_are_refused" {
  command = plan

  variables {
    desired_capacity = 1
  }

  expect_failures = [var.desired_capacity]
}

run "a_group_without_subnets_is_refused" {
  command = plan

  variables {
    subnet_ids = []
  }

  expect_failures = [var.subnet_ids]
}

run "what_is_no_subnet_is_refused" {
  command = plan

  variables {
    subnet_ids = ["subnet-a", "vpc-0123"]
  }

  expect_failures = [var.subnet_ids]
}
