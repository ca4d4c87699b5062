variable "allow_state" {
  description = "Whether the value may stand in clear in state and plan files, for all who can read those."
  type        = bool
  default     = false
}

variable "python" {
  description = "Python of the environment that has Strongroom and the store's extra."
  type        = string
  default     = "python3"
}
