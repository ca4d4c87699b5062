# Where one comes from: the value stands in state, in every plan file, and in every copy of them.

provider "aws" {
  region = "eu-west-1"
}

variable "db_password" {
  description = "The value of db/password."
  type        = string
  sensitive   = true
}

resource "aws_secretsmanager_secret" "db_password" {
  #checkov:skip=CKV_AWS_149: what one comes from, as it often is
  #checkov:skip=CKV2_AWS_57: what one comes from, as it often is
  name        = "prod/db/password"
  description = "The application's login"
}

resource "aws_secretsmanager_secret_version" "db_password" {
  secret_id     = aws_secretsmanager_secret.db_password.id
  secret_string = var.db_password
}
