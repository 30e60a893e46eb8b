# Which image, whose credentials and what network a machine has before it starts; over a provider that makes nothing.

mock_provider "aws" {
  mock_data "aws_ami_ids" {
    defaults = { ids = ["ami-0123456789abcdef0", "ami-0000000000000000a"] }
  }

  mock_data "aws_ec2_instance_type" {
    defaults = { supported_architectures = ["i386", "x86_64"] }
  }

  mock_data "aws_subnet" {
    defaults = { vpc_id = "vpc-0123" }
  }
}

variables {
  name          = "web-1"
  policy        = "{}"
  instance_type = "t3.medium"
  nixos_release = "26.05"
  subnet_id     = "subnet-0123"
}

run "the_image_is_the_newest_of_the_project_itself" {
  command = apply

  assert {
    condition     = data.aws_ami_ids.nixos[0].owners == tolist(["427812963091"]) && data.aws_ami_ids.nixos[0].sort_ascending != true
    error_message = "Whoever may name an image like NixOS's must not be believed."
  }

  assert {
    condition = { for filter in data.aws_ami_ids.nixos[0].filter : filter.name => filter.values } == {
      name         = toset(["nixos/26.05*"])
      architecture = toset(["x86_64"])
    }
    error_message = "It is of the release and the architecture."
  }

  assert {
    condition     = output.ami == "ami-0123456789abcdef0"
    error_message = "It is the first of those that were found, the newest."
  }
}

run "an_arm_machine_has_an_arm_image" {
  command = apply

  variables {
    instance_type = "t4g.medium"
  }

  override_data {
    target = data.aws_ec2_instance_type.machine[0]
    values = { supported_architectures = ["arm64"] }
  }

  assert {
    condition     = toset(["arm64"]) == one([for filter in data.aws_ami_ids.nixos[0].filter : filter.values if filter.name == "architecture"])
    error_message = "The architecture is that of the type."
  }
}

run "a_given_image_is_not_looked_for" {
  command = apply

  variables {
    ami = "ami-0fedcba9876543210"
  }

  assert {
    condition     = output.ami == "ami-0fedcba9876543210" && length(data.aws_ami_ids.nixos) == 0 && length(data.aws_ec2_instance_type.machine) == 0
    error_message = "It is taken as it is."
  }
}

run "where_no_image_is_left_there_is_one_that_ec2_refuses" {
  command = apply

  override_data {
    target = data.aws_ami_ids.nixos[0]
    values = { ids = [] }
  }

  assert {
    condition     = !output.has_image && output.ami == "ami-of-nixos-26.05-is-gone"
    error_message = "What it would start from is an image that nobody has."
  }
}

run "the_role_is_for_ec2_and_has_the_policy" {
  command = apply

  variables {
    policy            = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
    extra_policy_arns = { sessions = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" }
  }

  assert {
    condition     = jsondecode(aws_iam_role.machine.assume_role_policy).Statement[0].Principal == { Service = "ec2.amazonaws.com" } && length(jsondecode(aws_iam_role.machine.assume_role_policy).Statement) == 1
    error_message = "Nobody else takes it on."
  }

  assert {
    condition     = aws_iam_role_policy.store.policy == var.policy && aws_iam_role_policy.store.role == aws_iam_role.machine.name
    error_message = "It may do what it was given."
  }

  assert {
    condition     = aws_iam_role_policy_attachment.extra["sessions"].policy_arn == "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" && length(aws_iam_role_policy_attachment.extra) == 1
    error_message = "And what was given beside that."
  }

  assert {
    condition     = aws_iam_instance_profile.machine.role == aws_iam_role.machine.name && output.instance_profile == aws_iam_instance_profile.machine.name
    error_message = "The profile is that of the role."
  }
}

run "the_longest_name_still_makes_a_role" {
  command = apply

  variables {
    name = "a23456789012345678901234567890123456789012345678901234567890123"
  }

  assert {
    condition     = length(aws_iam_role.machine.name_prefix) <= 38 && length(aws_iam_instance_profile.machine.name_prefix) <= 38
    error_message = "AWS's provider allows 38 characters before those that it adds."
  }
}

run "everything_goes_out" {
  command = apply

  assert {
    condition     = aws_security_group.machine[0].vpc_id == "vpc-0123" && one(output.security_group_ids) == aws_security_group.machine[0].id
    error_message = "The group is in the subnet's network."
  }

  assert {
    condition = (
      aws_vpc_security_group_egress_rule.ipv4[0].cidr_ipv4 == "0.0.0.0/0"
      && aws_vpc_security_group_egress_rule.ipv6[0].cidr_ipv6 == "::/0"
      && alltrue([
        for rule in [aws_vpc_security_group_egress_rule.ipv4[0], aws_vpc_security_group_egress_rule.ipv6[0]] :
        rule.ip_protocol == "-1" && rule.security_group_id == aws_security_group.machine[0].id
      ])
    )
    error_message = "Agents reach the store, and what builds fetch."
  }
}

run "given_security_groups_are_the_only_ones" {
  command = apply

  variables {
    security_group_ids = ["sg-0123"]
  }

  assert {
    condition     = output.security_group_ids == tolist(["sg-0123"]) && length(aws_security_group.machine) == 0 && length(aws_vpc_security_group_egress_rule.ipv4) == 0
    error_message = "None is made beside those that were given."
  }
}

run "what_is_no_image_is_refused" {
  command = plan

  variables {
    ami = "nixos"
  }

  expect_failures = [var.ami]
}

run "what_is_no_release_is_refused" {
  command = plan

  variables {
    nixos_release = "unstable"
  }

  expect_failures = [var.nixos_release]
}

run "what_is_no_managed_policy_is_refused" {
  command = plan

  variables {
    extra_policy_arns = { sessions = "AmazonSSMManagedInstanceCore" }
  }

  expect_failures = [var.extra_policy_arns]
}

run "what_is_no_type_of_machine_is_refused" {
  command = plan

  variables {
    instance_type = "medium"
  }

  expect_failures = [var.instance_type]
}

run "what_is_no_subnet_is_refused" {
  command = plan

  variables {
    subnet_id = "vpc-0123"
  }

  expect_failures = [var.subnet_id]
}

run "what_is_no_security_group_is_refused" {
  command = plan

  variables {
    security_group_ids = ["default"]
  }

  expect_failures = [var.security_group_ids]
}

run "no_security_group_at_all_is_refused" {
  command = plan

  variables {
    security_group_ids = []
  }

  expect_failures = [var.security_group_ids]
}
