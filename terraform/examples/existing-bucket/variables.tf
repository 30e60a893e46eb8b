variable "region" {
  description = "Where the host is; the bucket's own region is asked for."
  type        = string
  default     = "eu-central-1"
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "prefix" {
  description = "Where the store is to be in it."
  type        = string
  default     = "npc/fleet"
}

variable "kms_key_arn" {
  description = "ARN of the key that the bucket is encrypted with; null for SSE-S3."
  type        = string
  default     = null
}

variable "subnet_id" {
  description = "Subnet for the host, from which it reaches S3."
  type        = string
}

variable "flake" {
  description = "Directory of the flake with the host's configuration."
  type        = string
}

variable "agent" {
  description = "File of a static npc-agent for x86_64, such as result/bin/npc-agent after `nix build .#npc-agent-static-x86_64`."
  type        = string
}
