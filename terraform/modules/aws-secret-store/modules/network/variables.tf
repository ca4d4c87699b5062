variable "name" {
  description = "Prefix of the store; the security groups are NAME-rotation and NAME-rotation-endpoints."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "vpc_id" {
  description = "VPC that the function runs in."
  type        = string
  nullable    = false
}

variable "subnet_ids" {
  description = "Subnets of the function and of the endpoints, in two zones or more."
  type        = list(string)
  nullable    = false
}

variable "endpoints" {
  description = "Services of AWS that the function reaches without the internet; none where the VPC has their endpoints already."
  type        = set(string)
  default     = ["secretsmanager"]
  nullable    = false
}

variable "targets" {
  description = "What the function rotates, by name: security group and port of a database. Its own group must let the function in."
  type        = map(object({ security_group_id = string, port = number }))
  default     = {}
  nullable    = false
}

variable "tags" {
  description = "Tags of groups and endpoints."
  type        = map(string)
  default     = {}
  nullable    = false
}
