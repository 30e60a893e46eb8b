terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # `data "aws_region"` has `region` since 6.0, `aws_s3_bucket_public_access_block` has `skip_destroy` since 6.4.
      version = ">= 6.4"
    }
  }
}
