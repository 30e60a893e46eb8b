terraform {
  required_version = ">= 1.9"

  required_providers {
    npc = {
      source = "npc/npc"
    }
  }
}
