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

  validation {
    condition     = var.desired_capacity == null || try(var.min_size <= var.desired_capacity && var.desired_capacity <= var.max_size, false)
    error_message = "`desired_capacity` is between `min_size` and `max_size`."
  }
}

variable "subnet_ids" {
  description = "Subnets to be in."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) > 0 && alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "Name one subnet at least, each in the form subnet-0123456789abcdef0."
  }
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
  description = "Size in GiB, type and encryption of the root disk; `kms_key_id` is a key's ARN."
  type = object({
    size       = optional(number, 20)
    type       = optional(string, "gp3")
    encrypted  = optional(bool, true)
    kms_key_id = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.root_disk.size >= 8 && floor(var.root_disk.size) == var.root_disk.size
    error_message = "Two systems and what it takes to build one need 8 GiB at least, in whole GiB."
  }

  validation {
    condition     = contains(["gp2", "gp3", "standard"], var.root_disk.type)
    error_message = "A root disk is of type gp3, gp2 or standard: io1 and io2 want IOPS, which this module does not set, and st1 and sc1 boot nothing."
  }

  validation {
    condition     = var.root_disk.kms_key_id == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.root_disk.kms_key_id))
    error_message = "`kms_key_id` is a key's ARN, arn:aws:kms:eu-central-1:123456789012:key/…. Auto Scaling must be allowed to use it."
  }

  validation {
    condition     = var.root_disk.kms_key_id == null || var.root_disk.encrypted
    error_message = "A disk with a key is encrypted."
  }
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
