variable "name" {
  description = "Prefix of the store: the secret db/password is NAME/db/password in Secrets Manager."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$", var.name)) && length(replace(var.name, "/", "--")) <= 24
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /: 24 at most, where / counts two."
  }
}

variable "secrets" {
  description = "The secrets, by Strongroom's names. One with rotate = true gets its value here once."
  type = map(object({
    description = optional(string)
    rotate      = optional(bool, false)
    tags        = optional(map(string), {})
  }))
  default  = {}
  nullable = false
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
  description = "ARN of a key that is there, or aws/secretsmanager for the one of AWS, which no other account can use; null makes a multi-Region key for this store."
  type        = string
  default     = null
}

variable "recovery_window_days" {
  description = "Days, from 7 to 30, for which a destroyed secret can be had back; 0 destroys at once."
  type        = number
  default     = 30
  nullable    = false
}

variable "rotation" {
  description = "How what has rotate = true is rotated. `rotator`, its options and grace are for strongroom_toml; `package` is the zip of `strongroom rotation package aws-lambda`, without which no function is made. `tick` of \"\" is no timer, `overdue_after_days` of 0 no alarm of that. See modules/rotation and modules/alarms. Null for none."
  type = object({
    rotator                 = optional(string)
    options                 = optional(any, {})
    grace                   = optional(string, "2h")
    package                 = optional(string)
    schedule                = optional(string, "rate(30 days)")
    window                  = optional(string)
    rotate_immediately      = optional(bool, true)
    tick                    = optional(string, "rate(15 minutes)")
    overdue_after_days      = optional(number, 35)
    python                  = optional(string, "3.13")
    architecture            = optional(string, "x86_64")
    timeout_seconds         = optional(number, 300)
    memory_mib              = optional(number, 512)
    environment             = optional(map(string), {})
    function_policy_arns    = optional(map(string), {})
    reserved_concurrency    = optional(number, -1)
    code_signing_config_arn = optional(string)
    log_retention_days      = optional(number, 365)
    log_kms_key_arn         = optional(string)
  })
  default = null
}

variable "ledger" {
  description = "Where rotations are recorded: \"store\" beside the store's secrets, \"region\" beside all of the region's (a function packed with --rotator alone), \"elsewhere\" in PostgreSQL."
  type        = string
  default     = "store"
  nullable    = false
}

variable "network" {
  description = "VPC that the function runs in, with the endpoints to make and the databases to reach; null for none."
  type = object({
    vpc_id     = string
    subnet_ids = list(string)
    endpoints  = optional(set(string), ["secretsmanager"])
    targets    = optional(map(object({ security_group_id = string, port = number })), {})
  })
  default = null
}

variable "readers" {
  description = "ARNs of the IAM roles that read values, known when it is planned."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "rotators" {
  description = "ARNs of the IAM roles that rotate beside the function, known when it is planned."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "administrators" {
  description = "ARNs of the IAM roles that write, tag, delete, restore and purge, known when it is planned."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "alarm_actions" {
  description = "ARNs of what an alarm calls. An SNS topic gets the events too, if its policy lets events.amazonaws.com publish."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
  nullable    = false
}
