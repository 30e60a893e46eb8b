output "hosts" {
  description = "Of each host: assignment, instance_id, machine, private_ip, public_ip, role, security_group_ids."
  value = {
    for name, host in module.host : name => {
      assignment         = host.assignment
      instance_id        = host.instance_id
      machine            = host.machine
      private_ip         = host.private_ip
      public_ip          = host.public_ip
      role               = host.role
      security_group_ids = host.security_group_ids
    }
  }
}

output "groups" {
  description = "Of each group: autoscaling_group, for scaling policies; launch_template_id; machine; role; security_group_ids."
  value = {
    for name, group in module.group : name => {
      autoscaling_group  = group.autoscaling_group
      launch_template_id = group.launch_template_id
      machine            = group.machine
      role               = group.role
      security_group_ids = group.security_group_ids
    }
  }
}
