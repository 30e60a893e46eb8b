variable "bucket" {
  description = "Name of the bucket."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 of a-z, 0-9, `.` and `-`, and begins and ends with a letter or digit."
  }
}

variable "create_bucket" {
  description = "Whether to make the bucket; false for one that is there already, whose settings are then left as they are."
  type        = bool
  default     = true
  nullable    = false
}

variable "prefix" {
  description = "Where the store is in the bucket, without slashes at its ends; empty for the whole bucket."
  type        = string
  default     = ""
  nullable    = false

  # IAM takes `*`, `?` and `$` in a resource for more than themselves.
  validation {
    condition     = can(regex("^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$", var.prefix))
    error_message = "A prefix consists of letters, digits, `.`, `_` and `-`, in parts joined by `/`, without a slash at either end."
  }
}

variable "kms_key_arn" {
  description = "ARN of the key to encrypt with; null for keys of S3's own (SSE-S3). Its own policy must let IAM policies allow its use."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "The ARN of a key has the form arn:aws:kms:eu-central-1:123456789012:key/…; an alias does not do in policies."
  }
}

variable "noncurrent_days" {
  description = "Days for which what was overwritten or removed can still be brought back."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "S3 counts whole days, and keeps a version that was overwritten for one at least."
  }
}

variable "force_destroy" {
  description = "Whether destroying the bucket also destroys what is in it, every version of it."
  type        = bool
  default     = false
  nullable    = false
}

variable "hosts" {
  description = "Hosts that are not made by the modules `host` and `hosts`, to have policies for: by name, each with the assignment that it obeys; its own name unless said."
  type        = map(object({ assignment = optional(string) }))
  default     = {}
  nullable    = false
}

variable "groups" {
  description = "Groups of such hosts that share one role and one assignment, and report as GROUP-i-…."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
  nullable    = false
}
