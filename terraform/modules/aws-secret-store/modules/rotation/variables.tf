variable "name" {
  description = "Prefix of the store; the function is NAME-rotation."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "secrets" {
  description = "ARNs of the secrets to rotate, by name: `rotating` of the secrets module."
  type        = map(string)
  nullable    = false
}

variable "package" {
  description = "Path of the zip that `strongroom rotation package aws-lambda` made."
  type        = string
  nullable    = false
}

variable "rotator_policy_arn" {
  description = "ARN of the policy of who rotates: `policy_arns[\"rotator\"]` of the iam module."
  type        = string
  nullable    = false
}

variable "function_policy_arns" {
  description = "By names of yours, ARNs of policies of what else the function's rotator does, such as `rds:ModifyDBInstance`."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "schedule" {
  description = "When Secrets Manager rotates: rate(…) or cron(…), in UTC. With a cron, also window."
  type        = string
  default     = "rate(30 days)"
  nullable    = false

  validation {
    condition     = can(regex("^(rate|cron)\\(.+\\)$", var.schedule))
    error_message = "A schedule is rate(…) or cron(…)."
  }
}

variable "window" {
  description = "Length of the window in which a rotation may begin, such as 2h; null is to the end of the schedule's own unit."
  type        = string
  default     = null
}

variable "rotate_immediately" {
  description = "Rotate when rotation is first set up, and when schedule or function change. Off, the current value is only tried."
  type        = bool
  default     = true
  nullable    = false
}

variable "tick" {
  description = "When a timer wakes the function to end graces and tell of what is overdue; null for a zip packed without a configuration."
  type        = string
  default     = "rate(15 minutes)"
}

variable "handler" {
  description = "What Lambda calls in the zip."
  type        = string
  default     = "strongroom_rotation.handler"
  nullable    = false
}

variable "python" {
  description = "Python's version, as the zip was packed for."
  type        = string
  default     = "3.13"
  nullable    = false
}

variable "architecture" {
  description = "Machine, as the zip was packed for: x86_64 or arm64."
  type        = string
  default     = "x86_64"
  nullable    = false

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "Lambda has x86_64 and arm64."
  }
}

variable "timeout_seconds" {
  description = "How long a step may take. It waits up to 30 seconds for what reads do not show yet."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 60 && var.timeout_seconds <= 900
    error_message = "From 60, for a step that waits, to 900, Lambda's most."
  }
}

variable "memory_mib" {
  description = "Memory of the function, which buys processor time too."
  type        = number
  default     = 512
  nullable    = false
}

variable "reserved_concurrency" {
  description = "How many may run at once; -1 takes from the account's common ones."
  type        = number
  default     = -1
  nullable    = false
}

variable "environment" {
  description = "Environment variables of the function. Never a secret: who may describe the function reads them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "vpc" {
  description = "Subnets and security groups that the function runs in; null for none."
  type        = object({ subnet_ids = list(string), security_group_ids = list(string) })
  default     = null
}

variable "code_signing_config_arn" {
  description = "ARN of a code signing configuration that the zip is signed for."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which the function's log is kept. No value stands in it."
  type        = number
  default     = 365
  nullable    = false
}

variable "log_kms_key_arn" {
  description = "ARN of the key of the log group, whose policy must let CloudWatch use it; null is CloudWatch's own."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
  nullable    = false
}
