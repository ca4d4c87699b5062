variable "name" {
  description = "Prefix of the store: the secret db/password is NAME/db/password in Secrets Manager."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*$", var.name))
    error_message = "The name is lower-case letters, digits and dashes, in parts joined by /."
  }
}

variable "account_id" {
  description = "Account that holds the secrets, 12 digits."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account is 12 digits."
  }
}

variable "region" {
  description = "Region of the store, where values are written and rotated."
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the region: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
  nullable    = false
}

variable "replicas" {
  description = "Regions that Secrets Manager copies the secrets to."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "kms_key_arns" {
  description = "ARN of the key that encrypts the secrets, by region; none for aws/secretsmanager, which needs no grant."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ledger" {
  description = "Where rotations are recorded: \"store\" beside the store's secrets, \"region\" beside all of the region's (a function packed with --rotator alone), \"elsewhere\" in PostgreSQL."
  type        = string
  default     = "store"
  nullable    = false

  validation {
    condition     = contains(["store", "region", "elsewhere"], var.ledger)
    error_message = "The ledger is in the store, the region, or elsewhere."
  }
}

variable "readers" {
  description = "ARNs of the IAM roles that read values, known when it is planned; attach policy_arns yourself to others."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.readers : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "Each is the ARN of an IAM role."
  }
}

variable "rotators" {
  description = "ARNs of the IAM roles that rotate, known when it is planned; attach policy_arns yourself to others."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.rotators : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "Each is the ARN of an IAM role."
  }
}

variable "administrators" {
  description = "ARNs of the IAM roles that administrate, known when it is planned; attach policy_arns yourself to others."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.administrators : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "Each is the ARN of an IAM role."
  }
}

variable "tags" {
  description = "Tags of the policies."
  type        = map(string)
  default     = {}
  nullable    = false
}
