# Where one gets to: the same secret, never replaced and readable all the while; its value is in no state.

provider "aws" {
  region = "eu-west-1"
}

variable "db_password" {
  description = "The new value of db/password; by TF_VAR_db_password, never in a file."
  type        = string
  default     = ""
  ephemeral   = true
  sensitive   = true
}

variable "db_password_version" {
  description = "Null at first, which writes nothing; then a number, counted up to write db_password."
  type        = number
  default     = null
}

module "store" {
  source = "../../../modules/aws-secret-store"

  name           = "prod"
  kms_key_arn    = "aws/secretsmanager" # as before; under a key of its own readers need kms:Decrypt first
  secrets        = { "db/password" = { description = "The application's login" } }
  values         = { "db/password" = var.db_password }
  value_versions = { for name, version in { "db/password" = var.db_password_version } : name => version if version != null }
}

# The secret stays what it is under another address.
moved {
  from = aws_secretsmanager_secret.db_password
  to   = module.store.module.secrets.aws_secretsmanager_secret.this["prod/db/password"]
}

# The version is forgotten and nothing else: destroyed, its labels would go; replaced by a write-only one, the
# same value would be put a second time, and AWSPREVIOUS with it.
removed {
  from = aws_secretsmanager_secret_version.db_password

  lifecycle {
    destroy = false
  }
}
