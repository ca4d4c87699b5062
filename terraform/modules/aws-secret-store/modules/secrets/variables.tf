variable "name" {
  description = "Prefix of the store: the secret db/password is NAME/db/password in Secrets Manager."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "secrets" {
  description = "The secrets, by Strongroom's names. A value that rotates is written here once."
  type = map(object({
    description = optional(string)
    rotate      = optional(bool, false)
    tags        = optional(map(string), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.secrets) : can(regex("^[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*$", name))])
    error_message = "A name is parts of lower-case letters and digits, with single . _ - inside, joined by /."
  }
}

variable "values" {
  description = "Values by name. Never in state or plan; given at every apply in which value_versions asks for a write."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true
}

variable "value_versions" {
  description = "By name, a number of yours: a new one writes the value. A name that is not here gets no value from Terraform."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.value_versions) : contains(keys(var.secrets), name)])
    error_message = "Each name in value_versions is one of secrets."
  }
}

variable "replicas" {
  description = "Regions that Secrets Manager copies to, each with the key there; none is the region's aws/secretsmanager."
  type        = map(object({ kms_key_arn = optional(string) }))
  default     = {}
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the key that encrypts the secrets; null is aws/secretsmanager, which no other account can use."
  type        = string
  default     = null
}

variable "recovery_window_days" {
  description = "Days, from 7 to 30, for which a destroyed secret can be had back; 0 destroys at once."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.recovery_window_days == 0 || (var.recovery_window_days >= 7 && var.recovery_window_days <= 30)
    error_message = "Secrets Manager keeps a deleted secret 7 to 30 days, or not at all (0)."
  }
}

variable "tags" {
  description = "Tags of all secrets."
  type        = map(string)
  default     = {}
  nullable    = false
}
