variable "name" {
  description = "Name of the group, and of the assignment that its machines share."
  type        = string
  nullable    = false
}

variable "store" {
  description = "The store, as the module `store` puts it out."
  type = object({
    bucket_arn  = string
    prefix      = string
    kms_key_arn = optional(string)
  })
  nullable = false
}

variable "user_data" {
  description = "What each machine does when it boots: makes itself the host GROUP-i-…, after its instance's id."
  type        = string
  nullable    = false

  # EC2 counts bytes, before it encodes them; `length` would count characters.
  validation {
    condition     = length(base64encode(var.user_data)) / 4 * 3 - (endswith(base64encode(var.user_data), "==") ? 2 : endswith(base64encode(var.user_data), "=") ? 1 : 0) <= 16384
    error_message = "User data has 16 KiB at most."
  }
}

variable "min_size" {
  description = "How many machines there are at least."
  type        = number
  nullable    = false
}

variable "max_size" {
  description = "How many machines there are at most."
  type        = number
  nullable    = false

  validation {
    condition     = var.min_size >= 0 && var.max_size >= var.min_size
    error_message = "`min_size` is 0 or more, and `max_size` no less than that."
  }
}

variable "desired_capacity" {
  description = "How many machines there are; null to leave that to scaling policies."
  type        = number
  default     = null
}

variable "subnet_ids" {
  description = "Subnets to be in."
  type        = list(string)
  nullable    = false
}

variable "security_group_ids" {
  description = "Security groups; null to make one that lets nothing in and everything out."
  type        = list(string)
  default     = null
}

variable "instance_type" {
  description = "Type of the machines."
  type        = string
  nullable    = false
}

variable "ami" {
  description = "NixOS image to start from; null for the newest official one of `nixos_release`."
  type        = string
  default     = null
}

variable "nixos_release" {
  description = "Release of NixOS whose newest official image to start from."
  type        = string
  nullable    = false
}

variable "root_disk" {
  description = "Size in GiB, type and encryption of the root disk."
  type = object({
    size       = number
    type       = string
    encrypted  = bool
    kms_key_id = optional(string)
  })
  nullable = false

  validation {
    condition     = var.root_disk.size >= 8 && floor(var.root_disk.size) == var.root_disk.size
    error_message = "Two systems and what it takes to build one need 8 GiB at least, in whole GiB."
  }
}

variable "extra_policy_arns" {
  description = "ARNs of managed policies that machines have beside the one for the store."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
}
