variable "host" {
  description = "Host of the server."
  type        = string
}

variable "port" {
  description = "Port of the server."
  type        = number
  default     = 5432
}

variable "administrator" {
  description = "Role that may make roles; its password is the secret db/administrator."
  type        = string
  default     = "postgres"
}

variable "password_version" {
  description = "Count it up to give the application another password now."
  type        = number
  default     = 1
}

variable "sslmode" {
  description = "How the server is verified; anything below verify-full is for a server on this machine."
  type        = string
  default     = "verify-full"
}
