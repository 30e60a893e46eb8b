# How a host's machine is made, and what leaves it alone; over a provider that makes nothing.

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
  name      = "web-1"
  store     = { bucket_arn = "arn:aws:s3:::my-bucket", prefix = "fleet" }
  user_data = "#!/bin/sh\necho one\n"
  subnet_id = "subnet-0123"
  tags      = { fleet = "ours" }
}

run "metadata_are_had_with_a_token_and_by_the_machine_alone" {
  command = apply

  assert {
    condition     = aws_instance.host.metadata_options[0].http_tokens == "required"
    error_message = "IMDSv1 lends the host's credentials to whoever can have it fetch an address."
  }

  assert {
    condition     = aws_instance.host.metadata_options[0].http_put_response_hop_limit == 1 && aws_instance.host.metadata_options[0].http_endpoint == "enabled"
    error_message = "Containers are no hosts."
  }
}

run "the_machine_is_as_it_was_asked_for" {
  command = apply

  variables {
    root_disk = { size = 40 }
    public_ip = false
  }

  assert {
    condition     = aws_instance.host.ami == "ami-0123456789abcdef0" && aws_instance.host.instance_type == "t3.medium" && aws_instance.host.subnet_id == "subnet-0123"
    error_message = "The image is found, the type is the default."
  }

  assert {
    condition = (
      aws_instance.host.root_block_device[0].volume_size == 40
      && aws_instance.host.root_block_device[0].volume_type == "gp3"
      && aws_instance.host.root_block_device[0].encrypted
    )
    error_message = "The disk is of the size, and encrypted unless said."
  }

  assert {
    condition     = aws_instance.host.tags == tomap({ fleet = "ours", Name = "web-1" })
    error_message = "It is called as the host is."
  }

  assert {
    condition     = aws_instance.host.iam_instance_profile != "" && tolist(aws_instance.host.vpc_security_group_ids) == tolist(output.security_group_ids)
    error_message = "It has credentials, and the security group that lets nothing in."
  }
}

run "a_disk_is_encrypted_with_the_key_that_it_was_given" {
  command = apply

  variables {
    root_disk = { kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }
  }

  assert {
    condition     = aws_instance.host.root_block_device[0].kms_key_id == "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" && aws_instance.host.root_block_device[0].encrypted
    error_message = "The key encrypts."
  }

  assert {
    condition     = output.machine.root_disk == { size = 20, type = "gp3", encrypted = true, kms_key_id = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" }
    error_message = "What is not said of the disk is as it is without a key."
  }
}

run "it_may_do_what_the_host_must" {
  command = apply

  assert {
    condition     = jsondecode(output.policy).Statement[1].Resource == "arn:aws:s3:::my-bucket/fleet/assignments/web-1.json" && output.assignment == "web-1"
    error_message = "It reads its own assignment."
  }

  assert {
    condition     = jsondecode(output.policy).Statement[2].Resource == "arn:aws:s3:::my-bucket/fleet/reports/web-1.json"
    error_message = "It writes its own report."
  }
}

run "it_reads_the_assignment_that_it_is_told" {
  command = plan

  variables {
    assignment = "webs"
  }

  assert {
    condition     = jsondecode(output.policy).Statement[1].Resource == "arn:aws:s3:::my-bucket/fleet/assignments/webs.json" && output.assignment == "webs"
    error_message = "It reads another's assignment where it was told so."
  }
}

run "a_machine_is_made" {
  command = apply

  state_key = "changed"

  variables {
    public_ip = true
  }

  assert {
    condition     = aws_instance.host.user_data == "#!/bin/sh\necho one\n" && aws_instance.host.user_data_replace_on_change == false
    error_message = "It is given its user data."
  }
}

run "and_neither_user_data_nor_image_nor_address_touch_it_again" {
  command = apply

  state_key = "changed"

  variables {
    user_data = "#!/bin/sh\necho two\n"
    ami       = "ami-0fedcba9876543210"
    public_ip = false
  }

  assert {
    condition     = aws_instance.host.user_data == "#!/bin/sh\necho one\n"
    error_message = "Other user data must not stop a machine that manages itself."
  }

  assert {
    condition     = aws_instance.host.ami == "ami-0123456789abcdef0"
    error_message = "Another image must not replace it."
  }

  assert {
    condition     = aws_instance.host.associate_public_ip_address == true && output.instance_id == run.a_machine_is_made.instance_id
    error_message = "Nor must the address that it gave back when it was stopped."
  }
}

run "nor_does_it_when_there_is_no_image_left" {
  command = apply

  state_key = "changed"

  variables {
    public_ip = true
  }

  override_data {
    target = module.machine.data.aws_ami_ids.nixos[0]
    values = { ids = [] }
  }

  expect_failures = [check.image]

  assert {
    condition     = aws_instance.host.ami == "ami-0123456789abcdef0" && output.instance_id == run.a_machine_is_made.instance_id
    error_message = "A machine that runs needs none."
  }
}

run "the_most_that_ec2_takes" {
  command = plan

  variables {
    user_data = "#${format("%16383s", "")}"
  }
}

run "more_bytes_than_ec2_takes_are_refused" {
  command = plan

  variables {
    user_data = "#${format("%16384s", "")}"
  }

  expect_failures = [var.user_data]
}

# 16384 characters, and 16385 bytes.
run "bytes_are_counted_and_not_characters" {
  command = plan

  variables {
    user_data = "é${format("%16383s", "")}"
  }

  expect_failures = [var.user_data]
}

run "a_name_that_no_host_can_have_is_refused" {
  command = plan

  variables {
    name = "Web 1"
  }

  expect_failures = [var.name]
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
