# The example, over a provider that makes nothing.

mock_provider "npc" {
  mock_resource "npc_fleet" {
    defaults = {
      id             = "0123456789abcdef0123456789abcdef"
      root_keys      = ["npc-root-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="]
      root_threshold = 1
    }
  }

  mock_resource "npc_agent_binary" {
    defaults = { sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
  }
}

variables {
  store  = "file:///srv/npc"
  flake  = "flake"
  agents = { x86_64 = "agent", aarch64 = "agent-for-arm" }
}

run "everything_fits_together" {
  command = apply

  assert {
    condition     = keys(output.scripts) == ["db-1", "web-1", "web-2"]
    error_message = "Each host has a script."
  }

  assert {
    condition     = keys(data.npc_bootstrap.this["db-1"].agents) == tolist(["aarch64", "x86_64"])
    error_message = "Machines of either architecture find an agent."
  }

  assert {
    condition     = alltrue([for remote in npc_remote.this : remote.fleet.store == "file:///srv/npc"])
    error_message = "Everything is in the store that is told."
  }
}
