# What a machine has before it starts, alone or in a group: an image, the credentials of its role, and a security group.

# The NixOS project's account, whose images are replaced weekly, deprecated after 90 days and then deleted
# (https://nixos.github.io/amis). The newest comes first. There may be none left, which is no concern of machines that run.
data "aws_ami_ids" "nixos" {
  count = var.ami == null ? 1 : 0

  owners             = ["427812963091"]
  include_deprecated = true

  filter {
    name   = "name"
    values = ["nixos/${var.nixos_release}*"]
  }

  filter {
    name   = "architecture"
    values = [contains(data.aws_ec2_instance_type.machine[0].supported_architectures, "arm64") ? "arm64" : "x86_64"]
  }
}

locals {
  found     = try(data.aws_ami_ids.nixos[0].ids[0], null)
  has_image = var.ami != null || local.found != null

  # An instance must name some image, also one that takes no notice of it: this one EC2 refuses to start from, by its name.
  ami = var.ami != null ? var.ami : local.found != null ? local.found : "ami-of-nixos-${var.nixos_release}-is-gone"
}

data "aws_ec2_instance_type" "machine" {
  count = var.ami == null ? 1 : 0

  instance_type = var.instance_type
}

# Names of roles are unique in an account, where there may be other fleets; AWS allows a prefix of 38 characters.
resource "aws_iam_role" "machine" {
  name_prefix = "${substr("npc-${var.name}", 0, 37)}-"
  description = "What ${var.name} may do, in npc's store above all"
  tags        = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "store" {
  name   = "npc-store"
  role   = aws_iam_role.machine.name
  policy = var.policy
}

# By name: the ARNs may be those of policies that are only just being made.
resource "aws_iam_role_policy_attachment" "extra" {
  for_each = var.extra_policy_arns

  role       = aws_iam_role.machine.name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "machine" {
  name_prefix = "${substr("npc-${var.name}", 0, 37)}-"
  role        = aws_iam_role.machine.name
  tags        = var.tags
}

data "aws_subnet" "machine" {
  count = var.security_group_ids == null ? 1 : 0

  id = var.subnet_id
}

resource "aws_security_group" "machine" {
  count = var.security_group_ids == null ? 1 : 0

  name_prefix = "npc-${var.name}-"
  description = "Nothing in, everything out: agents ask, and are not asked"
  vpc_id      = data.aws_subnet.machine[0].vpc_id
  tags        = merge(var.tags, { Name = "npc-${var.name}" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "ipv4" {
  count = var.security_group_ids == null ? 1 : 0

  security_group_id = aws_security_group.machine[0].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_vpc_security_group_egress_rule" "ipv6" {
  count = var.security_group_ids == null ? 1 : 0

  security_group_id = aws_security_group.machine[0].id
  cidr_ipv6         = "::/0"
  ip_protocol       = "-1"
}
