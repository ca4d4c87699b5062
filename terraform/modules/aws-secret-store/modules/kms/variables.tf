variable "name" {
  description = "Prefix of the store; the key's alias is alias/strongroom/NAME."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "log_groups" {
  description = "Names of the log groups that are encrypted under the key."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "deletion_window_days" {
  description = "Days, from 7 to 30, for which a deleted key can be had back. Without it no secret under it can be read."
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
