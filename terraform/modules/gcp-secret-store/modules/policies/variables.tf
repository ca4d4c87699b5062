variable "name" {
  description = "Prefix of the store: the secret db/password below prod is prod__db__password in Secret Manager."
  type        = string
  nullable    = false
}

variable "project_number" {
  description = "Number of the project that holds the secrets: conditions do not know its id."
  type        = string
  nullable    = false
}

variable "location" {
  description = "Location of a store of regional secrets, such as europe-west6; null for global ones."
  type        = string
  default     = null
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
