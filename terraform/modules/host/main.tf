# One host: a machine with a role that may do in the store what this host must, and nothing else.

module "policies" {
  source = "../policies"

  bucket_arn  = var.store.bucket_arn
  prefix      = var.store.prefix
  kms_key_arn = var.store.kms_key_arn
  hosts       = { (var.name) = { assignment = var.assignment } }
}

module "machine" {
  source = "../machine"

  name               = var.name
  policy             = module.policies.hosts[var.name]
  extra_policy_arns  = var.extra_policy_arns
  instance_type      = var.instance_type
  ami                = var.ami
  nixos_release      = var.nixos_release
  subnet_id          = var.subnet_id
  security_group_ids = var.security_group_ids
  tags               = var.tags
}

# A warning, and no more: a machine that runs needs none.
check "image" {
  assert {
    condition     = module.machine.has_image
    error_message = "No official image of NixOS ${var.nixos_release} is left to make ${var.name} from, should it be made anew: name a newer `nixos_release`, or an `ami`."
  }
}

resource "aws_instance" "host" {
  ami                         = module.machine.ami
  instance_type               = var.instance_type
  iam_instance_profile        = module.machine.instance_profile
  subnet_id                   = var.subnet_id
  associate_public_ip_address = var.public_ip
  vpc_security_group_ids      = module.machine.security_group_ids
  user_data                   = var.user_data
  user_data_replace_on_change = false
  tags                        = merge(var.tags, { Name = var.name })

  # IMDSv2 alone, and for the machine itself alone: containers are a hop away.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_size = var.root_disk.size
    volume_type = var.root_disk.type
    encrypted   = var.root_disk.encrypted
    kms_key_id  = var.root_disk.kms_key_id
    tags        = merge(var.tags, { Name = var.name })
  }

  # The machine manages itself once it is up. A newer image would replace it, other user data would stop and start it, and a
  # public address that a stopped machine has given back would replace it too
  # (https://github.com/hashicorp/terraform-provider-aws/issues/33775). All hold for a machine that is made anew (`-replace`).
  lifecycle {
    ignore_changes = [ami, associate_public_ip_address, user_data, user_data_base64]
  }
}
