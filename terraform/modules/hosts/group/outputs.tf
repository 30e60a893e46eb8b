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
