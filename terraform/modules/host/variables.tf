variable "name" {
  description = "Name of the host in the store."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", var.name))
    error_message = "A host's name has 1 to 63 of a-z, 0-9, `.`, `_` and `-`, and begins and ends with a letter or digit."
  }
}

variable "assignment" {
  description = "Assignment that the host obeys; null for that of its own name."
  type        = string
  default     = null
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
  description = "What the machine does when it boots: makes itself a host, as npc's bootstrap does. No secrets: every process on the machine can read it."
  type        = string
  nullable    = false

  # EC2 counts bytes, before it encodes them; `length` would count characters.
  validation {
    condition     = length(base64encode(var.user_data)) / 4 * 3 - (endswith(base64encode(var.user_data), "==") ? 2 : endswith(base64encode(var.user_data), "=") ? 1 : 0) <= 16384
    error_message = "User data has 16 KiB at most."
  }
}

variable "subnet_id" {
  description = "Subnet to be in; from there the host must reach S3, by a NAT, a VPC endpoint or an address of its own."
  type        = string
  nullable    = false
}

variable "public_ip" {
  description = "Whether the machine has a public IPv4 address, from its first start on; null for what the subnet says."
  type        = bool
  default     = null
}

variable "security_group_ids" {
  description = "Security groups; null to make one that lets nothing in and everything out."
  type        = list(string)
  default     = null
}

variable "instance_type" {
  description = "Type of the machine. One that builds its own system needs memory for evaluating it."
  type        = string
  default     = "t3.medium"
  nullable    = false
}

variable "ami" {
  description = "NixOS image to start from; null for the newest official one of `nixos_release`. Changes leave a machine that runs as it is."
  type        = string
  default     = null
}

variable "nixos_release" {
  description = "Release of NixOS whose newest official image to start from. Changes leave a machine that runs as it is."
  type        = string
  default     = "26.05"
  nullable    = false
}

variable "root_disk" {
  description = "Size in GiB, type and encryption of the root disk, where the Nix store is; `kms_key_id` is a key's ARN, or null for the account's default key."
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

  # AWS answers with the key's ARN, and a disk whose key looks different is replaced, and its machine with it.
  validation {
    condition     = var.root_disk.kms_key_id == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.root_disk.kms_key_id))
    error_message = "`kms_key_id` is a key's ARN, arn:aws:kms:eu-central-1:123456789012:key/…; with an alias or a bare id, every plan would replace the machine."
  }

  validation {
    condition     = var.root_disk.kms_key_id == null || var.root_disk.encrypted
    error_message = "A disk with a key is encrypted."
  }
}

variable "extra_policy_arns" {
  description = "ARNs of managed policies that the host has beside the one for the store, by names of your choice."
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
