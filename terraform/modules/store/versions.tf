terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # `data "aws_region"` has `region` since 6.0.
      version = ">= 6.0"
    }
  }
}
