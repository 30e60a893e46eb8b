variable "store" {
  description = "Where the fleet's store is to be, such as s3://my-bucket/fleet?region=garage&endpoint=https://garage.example.org."
  type        = string
}

variable "flake" {
  description = "Directory of the flake with the hosts' configurations."
  type        = string
}

variable "agents" {
  description = "Files of a static npc-agent, by architecture: x86_64, aarch64."
  type        = map(string)
}
