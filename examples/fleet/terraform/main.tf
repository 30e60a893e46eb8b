# Where the hosts come from; needs no provider and creates nothing.
locals {
  hosts = {
    "web-1" = { disk_gb = 20 }
    "web-2" = { disk_gb = 20 }
    "db-1"  = { disk_gb = 200 }
  }
}

output "disk_gb" {
  value = sum([for host in local.hosts : host.disk_gb])
}
