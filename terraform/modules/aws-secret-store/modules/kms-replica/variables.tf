variable "name" {
  description = "Prefix of the store; the key's alias is alias/strongroom/NAME."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "primary_key_arn" {
  description = "ARN of the multi-Region key of which this is the replica."
  type        = string
  nullable    = false
}

variable "deletion_window_days" {
  description = "Days, from 7 to 30, for which a deleted key can be had back."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "KMS waits 7 to 30 days."
  }
}

variable "tags" {
  description = "Tags of the key."
  type        = map(string)
  default     = {}
  nullable    = false
}
