variable "region" {
  description = "Where everything is."
  type        = string
  default     = "eu-central-1"
}

variable "bucket" {
  description = "Name of the bucket to make; no other in the world may be called so."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets from which machines reach S3: hosts are in the first, the group in all. Another first one would replace the hosts."
  type        = list(string)
}

variable "flake" {
  description = "Directory of the flake with the hosts' configurations."
  type        = string
}

variable "agent" {
  description = "File of a static npc-agent for x86_64, such as result/bin/npc-agent after `nix build .#npc-agent-static-x86_64`."
  type        = string
}

variable "worker_configuration" {
  description = "Configuration that the workers build."
  type        = string
  default     = "worker"
}

variable "publisher_role" {
  description = "Name of the role that publishes, which is there already; null to give the policy to nobody yet."
  type        = string
  default     = null
}
