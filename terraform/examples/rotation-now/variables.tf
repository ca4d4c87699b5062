variable "rotate" {
  description = "Count it up to rotate the key now, whether it is due or not: after an incident, or with a release."
  type        = number
  default     = 1
}
