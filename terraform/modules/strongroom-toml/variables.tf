variable "alias" {
  description = "Name of the store in strongroom.toml, and the beginning of the names of all else."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+([._-][a-z0-9]+)*$", var.alias))
    error_message = "An alias is lower-case letters and digits with single . _ - between."
  }
}

variable "store" {
  description = "The store: its URL, and what stands under auth and options. Credentials are references, never themselves."
  type = object({
    url     = string
    auth    = optional(map(string), {})
    options = optional(any, {})
    encrypt = optional(bool, false)
  })
  nullable = false

  validation {
    condition     = alltrue([for text in [for key in local.credentials : lookup(var.store.auth, key, "env://")] : can(regex("^(env|file|strongroom)://", text))])
    error_message = "A credential stands in strongroom.toml as env://VARIABLE, file:///path or strongroom://ALIAS/NAME."
  }
}

variable "key" {
  description = "URL of a key that encrypts stores, which becomes [key.ALIAS-key] with the store's auth; null for none."
  type        = string
  default     = null
}

variable "rotation" {
  description = "What rotates the secrets: names or prefixes such as exchange/**, rotator and its options, schedule, timezone, window, grace, and `ledger`, where it is recorded how far each has come: \"store\" for the store itself, \"elsewhere\" for a [ledger] of your own. Null for none."
  type = object({
    names    = list(string)
    rotator  = string
    options  = optional(any, {})
    schedule = optional(string)
    timezone = optional(string)
    window   = optional(string)
    grace    = optional(string)
    ledger   = optional(string, "store")
  })
  default = null

  validation {
    condition     = try(length(var.rotation.names), 1) > 0
    error_message = "A rotation names at least one secret, or a prefix such as exchange/**."
  }
}

variable "coordinator" {
  description = "What guards conditional writes where the provider compares nothing (Azure): url, and of PostgreSQL user and password, the latter a reference. Null for none."
  type = object({
    url      = string
    user     = optional(string)
    password = optional(string)
  })
  default = null

  validation {
    condition     = can(regex("^(env|file|strongroom)://", coalesce(try(var.coordinator.password, null), "env://")))
    error_message = "A password stands in strongroom.toml as env://VARIABLE, file:///path or strongroom://ALIAS/NAME."
  }
}
