variable "store" {
  description = "The store, as the module `store` puts it out."
  type = object({
    bucket_arn  = string
    prefix      = string
    kms_key_arn = optional(string)
  })
  nullable = false
}

variable "hosts" {
  description = "Hosts by name. What is null, in `root_disk` too, is what all of them have; tags are added."
  type = map(object({
    user_data          = string
    assignment         = optional(string)
    subnet_id          = optional(string)
    public_ip          = optional(bool)
    security_group_ids = optional(list(string))
    instance_type      = optional(string)
    ami                = optional(string)
    nixos_release      = optional(string)
    root_disk = optional(object({
      size       = optional(number)
      type       = optional(string)
      encrypted  = optional(bool)
      kms_key_id = optional(string)
    }), {})
    extra_policy_arns = optional(map(string))
    tags              = optional(map(string), {})
  }))
  default  = {}
  nullable = false
}

variable "groups" {
  description = "Auto-scaling groups by name, which is also the assignment that their machines share. They report as GROUP-i-…. What is null, in `root_disk` too, is what all machines have; `max_size` is what `min_size` is unless said."
  type = map(object({
    user_data          = string
    min_size           = number
    max_size           = optional(number)
    desired_capacity   = optional(number)
    subnet_ids         = optional(list(string))
    security_group_ids = optional(list(string))
    instance_type      = optional(string)
    ami                = optional(string)
    nixos_release      = optional(string)
    root_disk = optional(object({
      size       = optional(number)
      type       = optional(string)
      encrypted  = optional(bool)
      kms_key_id = optional(string)
    }), {})
    extra_policy_arns = optional(map(string))
    tags              = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = !anytrue([for group in keys(var.groups) : anytrue([for name in concat(keys(var.hosts), keys(var.groups)) : startswith(name, "${group}-i-")])])
    error_message = "A name that begins with a group's and `-i-` is that of one of its machines, whose reports the whole group may write."
  }

  validation {
    condition     = length(setintersection(keys(var.hosts), keys(var.groups))) == 0
    error_message = "A host and a group of the same name would obey the same assignment."
  }
}

variable "subnet_ids" {
  description = "Subnets to be in; from there machines must reach S3. A host without a subnet of its own is in the first, a group in all."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition = length(var.subnet_ids) > 0 || (
      alltrue([for host in values(var.hosts) : host.subnet_id != null])
      && alltrue([for group in values(var.groups) : try(length(group.subnet_ids) > 0, false)])
    )
    error_message = "Some host or group has no subnet: name subnets for all, or for each."
  }
}

variable "public_ip" {
  description = "Whether hosts have public IPv4 addresses; null for what the subnet says, as it always is for groups."
  type        = bool
  default     = null
}

variable "security_group_ids" {
  description = "Security groups; null to make one for each host and group, which lets nothing in and everything out."
  type        = list(string)
  default     = null
}

variable "instance_type" {
  description = "Type of the machines. One that builds its own system needs memory for evaluating it."
  type        = string
  default     = "t3.medium"
  nullable    = false
}

variable "ami" {
  description = "NixOS image to start from; null for the newest official one of `nixos_release`. Changes leave machines that run as they are."
  type        = string
  default     = null
}

variable "nixos_release" {
  description = "Release of NixOS whose newest official image to start from. Changes leave machines that run as they are."
  type        = string
  default     = "26.05"
  nullable    = false
}

variable "root_disk" {
  description = "Size in GiB, type and encryption of the root disks, where the Nix store is; `kms_key_id` is a key's ARN, or null for the account's default key."
  type = object({
    size       = optional(number, 20)
    type       = optional(string, "gp3")
    encrypted  = optional(bool, true)
    kms_key_id = optional(string)
  })
  default  = {}
  nullable = false
}

variable "extra_policy_arns" {
  description = "ARNs of managed policies that machines have beside the one for the store, by names of your choice."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
}
