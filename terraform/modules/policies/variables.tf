variable "bucket_arn" {
  description = "ARN of the store's bucket."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_arn))
    error_message = "The ARN of a bucket has the form arn:aws:s3:::my-bucket."
  }
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
  description = "ARN of the key that the bucket is encrypted with; null where S3 encrypts with keys of its own (SSE-S3)."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "The ARN of a key has the form arn:aws:kms:eu-central-1:123456789012:key/…; an alias does not do in policies."
  }
}

variable "hosts" {
  description = "Hosts by name, each with the assignment that it obeys; its own name unless said."
  type        = map(object({ assignment = optional(string) }))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name, host in var.hosts : can(regex("^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", name))])
    error_message = "A host's name has 1 to 63 of a-z, 0-9, `.`, `_` and `-`, and begins and ends with a letter or digit."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.assignment == null || can(regex("^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", host.assignment))])
    error_message = "An assignment's name has 1 to 63 of a-z, 0-9, `.`, `_` and `-`, and begins and ends with a letter or digit."
  }
}

variable "groups" {
  description = "Names of scaling groups: each is the assignment of its machines, which report as GROUP-i-…."
  type        = set(string)
  default     = []
  nullable    = false

  # `GROUP-` and an instance's id, such as i-0123456789abcdef0, make the name of a host, of 63 characters at most.
  validation {
    condition     = alltrue([for name in var.groups : can(regex("^[a-z0-9][a-z0-9._-]{0,42}$", name))])
    error_message = "A group's name has 1 to 43 of a-z, 0-9, `.`, `_` and `-`, and begins with a letter or digit."
  }

  validation {
    condition     = !anytrue([for group in var.groups : anytrue([for name in concat(keys(var.hosts), tolist(var.groups)) : startswith(name, "${group}-i-")])])
    error_message = "A name that begins with a group's and `-i-` is that of one of its machines, whose reports the whole group may write."
  }
}
