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

variable "user_data" {
  description = "What each machine does when it boots, by host or group."
  type        = map(string)
}

variable "publisher_role" {
  description = "Name of the role that publishes, which is there already; null to give the policy to nobody yet."
  type        = string
  default     = null
}
