variable "name" {
  description = "What the machine, or the group of machines, is called."
  type        = string
  nullable    = false
}

variable "policy" {
  description = "JSON of the policy for the store."
  type        = string
  nullable    = false
}

variable "extra_policy_arns" {
  description = "ARNs of managed policies that the role has beside the one for the store, by names of your choice."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for arn in values(var.extra_policy_arns) : can(regex("^arn:[a-z-]+:iam::(aws|[0-9]{12}):policy/.+$", arn))])
    error_message = "The ARN of a managed policy has the form arn:aws:iam::aws:policy/… or arn:aws:iam::123456789012:policy/…."
  }
}

variable "instance_type" {
  description = "Type of the machine, which says its architecture."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", var.instance_type))
    error_message = "A type of machine has the form t3.medium."
  }
}

variable "ami" {
  description = "Image to start from; null for the newest official one of `nixos_release`."
  type        = string
  default     = null

  validation {
    condition     = var.ami == null || can(regex("^ami-[0-9a-f]+$", var.ami))
    error_message = "An image's id has the form ami-0123456789abcdef0."
  }
}

variable "nixos_release" {
  description = "Release of NixOS whose newest official image to start from."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{2}\\.(05|11)$", var.nixos_release))
    error_message = "A release of NixOS is called by year and month, such as 26.05."
  }
}

variable "subnet_id" {
  description = "A subnet of the network that the machine is in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^subnet-[0-9a-f]+$", var.subnet_id))
    error_message = "A subnet's id has the form subnet-0123456789abcdef0."
  }
}

variable "security_group_ids" {
  description = "Security groups; null to make one that lets nothing in and everything out."
  type        = list(string)
  default     = null

  # AWS takes an empty list for the network's default group.
  validation {
    condition     = var.security_group_ids == null || try(length(var.security_group_ids) > 0 && alltrue([for id in var.security_group_ids : can(regex("^sg-[0-9a-f]+$", id))]), false)
    error_message = "Name one security group at least, each in the form sg-0123456789abcdef0; or say null."
  }
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
}
