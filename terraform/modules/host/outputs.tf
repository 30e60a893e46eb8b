output "name" {
  description = "Name of the host."
  value       = var.name
}

output "assignment" {
  description = "Assignment that the host obeys."
  value       = var.assignment == null ? var.name : var.assignment
}

output "instance_id" {
  description = "Id of the machine."
  value       = aws_instance.host.id
}

output "private_ip" {
  description = "Its address in the subnet."
  value       = aws_instance.host.private_ip
}

output "public_ip" {
  description = "Its public address; empty where it has none."
  value       = aws_instance.host.public_ip
}

output "role" {
  description = "Name and ARN of its role, for more policies and for others' policies that name it."
  value       = module.machine.role
}

output "security_group_ids" {
  description = "Its security groups, to which rules can be added."
  value       = module.machine.security_group_ids
}

output "policy" {
  description = "JSON of its policy for the store."
  value       = module.policies.hosts[var.name]
}

output "machine" {
  description = "What the machine is: ami, instance_type, subnet_id, root_disk, tags."
  value = {
    ami           = aws_instance.host.ami
    instance_type = aws_instance.host.instance_type
    subnet_id     = aws_instance.host.subnet_id
    root_disk     = var.root_disk
    tags          = aws_instance.host.tags
  }
}
