output "ami" {
  description = "The image to start from; where none is left, one that EC2 refuses."
  value       = local.ami
}

output "has_image" {
  description = "Whether there is an image to start from."
  value       = local.has_image
}

output "instance_profile" {
  description = "Name of the instance profile, once the role has its policies."
  value       = aws_iam_instance_profile.machine.name
  depends_on  = [aws_iam_role_policy.store, aws_iam_role_policy_attachment.extra]
}

output "role" {
  description = "Name and ARN of the role, for more policies and for others' policies that name it."
  value       = { name = aws_iam_role.machine.name, arn = aws_iam_role.machine.arn }
}

output "security_group_ids" {
  description = "The security groups, once they let everything out."
  value       = var.security_group_ids == null ? aws_security_group.machine[*].id : var.security_group_ids
  depends_on  = [aws_vpc_security_group_egress_rule.ipv4, aws_vpc_security_group_egress_rule.ipv6]
}
