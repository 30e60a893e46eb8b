output "autoscaling_group" {
  description = "Name of the auto-scaling group."
  value       = aws_autoscaling_group.group.name
}

output "launch_template_id" {
  description = "Id of the launch template."
  value       = aws_launch_template.group.id
}

output "role" {
  description = "Name and ARN of the role."
  value       = module.machine.role
}

output "security_group_ids" {
  description = "The security groups."
  value       = module.machine.security_group_ids
}

output "policy" {
  description = "JSON of the policy for the store."
  value       = module.policies.groups[var.name]
}

output "machine" {
  description = "What its machines are: ami, instance_type, subnet_ids, root_disk, tags."
  value = {
    ami           = aws_launch_template.group.image_id
    instance_type = aws_launch_template.group.instance_type
    subnet_ids    = aws_autoscaling_group.group.vpc_zone_identifier
    root_disk     = var.root_disk
    tags          = { for tag in aws_autoscaling_group.group.tag : tag.key => tag.value }
  }
}
