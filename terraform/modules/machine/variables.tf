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
  description = "ARNs of managed policies that the role has beside the one for the store."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "instance_type" {
  description = "Type of the machine, which says its architecture."
  type        = string
  nullable    = false
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
}

variable "security_group_ids" {
  description = "Security groups; null to make one that lets nothing in and everything out."
  type        = list(string)
  default     = null
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = {}
  nullable    = false
}
