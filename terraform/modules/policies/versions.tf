terraform {
  # Conditions of a variable may name other variables since 1.9.
  required_version = ">= 1.9"
}
