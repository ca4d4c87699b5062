variable "name" {
  description = "Prefix of the store: the secret db/password is NAME/db/password in the mount."
  type        = string
  nullable    = false
}

variable "mount" {
  description = "Path of the KV engine of version 2."
  type        = string
  default     = "secret"
  nullable    = false
}

variable "ledger" {
  description = "Where rotations are recorded: \"store\" beside the store's secrets, \"elsewhere\" in PostgreSQL or another store."
  type        = string
  default     = "store"
  nullable    = false

  validation {
    condition     = contains(["store", "elsewhere"], var.ledger)
    error_message = "The ledger is in the store, or elsewhere."
  }
}

variable "patterns" {
  description = "Whether rotations name prefixes such as exchange/**, which are listed."
  type        = bool
  default     = false
  nullable    = false
}

variable "replicated" {
  description = "Whether Strongroom copies this store to others, or others to it: an administrator keeps the order of writes."
  type        = bool
  default     = false
  nullable    = false
}

variable "transit" {
  description = "The transit key that the store is encrypted under: its engine's path, and its name. Null for none."
  type = object({
    path = optional(string, "transit")
    key  = string
  })
  default = null
}
