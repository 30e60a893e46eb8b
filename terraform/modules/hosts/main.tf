# Many hosts: each a machine of its own, or machines that come and go in an auto-scaling group.

# Field by field, so that a larger disk still has the key of all disks.
locals {
  host_disks = {
    for name, host in var.hosts : name =>
    merge(var.root_disk, { for field, value in host.root_disk : field => value if value != null })
  }

  group_disks = {
    for name, group in var.groups : name =>
    merge(var.root_disk, { for field, value in group.root_disk : field => value if value != null })
  }
}

module "host" {
  source   = "../host"
  for_each = var.hosts

  name               = each.key
  store              = var.store
  user_data          = each.value.user_data
  assignment         = each.value.assignment
  subnet_id          = each.value.subnet_id != null ? each.value.subnet_id : var.subnet_ids[0]
  public_ip          = each.value.public_ip != null ? each.value.public_ip : var.public_ip
  security_group_ids = each.value.security_group_ids != null ? each.value.security_group_ids : var.security_group_ids
  instance_type      = each.value.instance_type != null ? each.value.instance_type : var.instance_type
  ami                = each.value.ami != null ? each.value.ami : var.ami
  nixos_release      = each.value.nixos_release != null ? each.value.nixos_release : var.nixos_release
  root_disk          = local.host_disks[each.key]
  extra_policy_arns  = each.value.extra_policy_arns != null ? each.value.extra_policy_arns : var.extra_policy_arns
  tags               = merge(var.tags, each.value.tags)
}

module "group" {
  source   = "./group"
  for_each = var.groups

  name               = each.key
  store              = var.store
  user_data          = each.value.user_data
  min_size           = each.value.min_size
  max_size           = each.value.max_size != null ? each.value.max_size : each.value.min_size
  desired_capacity   = each.value.desired_capacity
  subnet_ids         = each.value.subnet_ids != null ? each.value.subnet_ids : var.subnet_ids
  security_group_ids = each.value.security_group_ids != null ? each.value.security_group_ids : var.security_group_ids
  instance_type      = each.value.instance_type != null ? each.value.instance_type : var.instance_type
  ami                = each.value.ami != null ? each.value.ami : var.ami
  nixos_release      = each.value.nixos_release != null ? each.value.nixos_release : var.nixos_release
  root_disk          = local.group_disks[each.key]
  extra_policy_arns  = each.value.extra_policy_arns != null ? each.value.extra_policy_arns : var.extra_policy_arns
  tags               = merge(var.tags, each.value.tags)
}
