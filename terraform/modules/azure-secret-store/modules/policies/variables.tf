variable "encrypted" {
  description = "Whether the store is encrypted under a key of the vault before a value reaches it."
  type        = bool
  default     = false
  nullable    = false
}
