# Machines that come and go, one like the other: they share a role and an assignment, and report under their instance ids.

module "policies" {
  source = "../../policies"

  bucket_arn  = var.store.bucket_arn
  prefix      = var.store.prefix
  kms_key_arn = var.store.kms_key_arn
  groups      = [var.name]
}

module "machine" {
  source = "../../machine"

  name               = var.name
  policy             = module.policies.groups[var.name]
  extra_policy_arns  = var.extra_policy_arns
  instance_type      = var.instance_type
  ami                = var.ami
  nixos_release      = var.nixos_release
  subnet_id          = var.subnet_ids[0]
  security_group_ids = var.security_group_ids
  tags               = var.tags
}

# New machines start from its newest version; those that run are left alone, since nothing here refreshes instances.
resource "aws_launch_template" "group" {
  name_prefix            = "npc-${var.name}-"
  image_id               = module.machine.ami
  instance_type          = var.instance_type
  user_data              = base64encode(var.user_data)
  vpc_security_group_ids = module.machine.security_group_ids
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    name = module.machine.instance_profile
  }

  # IMDSv2 alone, and for the machine itself alone: containers are a hop away.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # The root device of NixOS's images.
  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.root_disk.size
      volume_type           = var.root_disk.type
      encrypted             = var.root_disk.encrypted
      kms_key_id            = var.root_disk.kms_key_id
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(var.tags, { Name = var.name })
  }

  # A group starts machines at any time.
  lifecycle {
    precondition {
      condition     = module.machine.has_image
      error_message = "No official image of NixOS ${var.nixos_release} is left to start the group's machines from: name a newer `nixos_release`, or an `ami`."
    }
  }
}

resource "aws_autoscaling_group" "group" {
  name_prefix         = "npc-${var.name}-"
  min_size            = var.min_size
  max_size            = var.max_size
  desired_capacity    = var.desired_capacity
  vpc_zone_identifier = var.subnet_ids
  health_check_type   = "EC2"

  launch_template {
    id      = aws_launch_template.group.id
    version = "$Latest"
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
