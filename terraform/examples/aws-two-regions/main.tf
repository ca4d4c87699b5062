provider "aws" {
  region = "eu-west-1"
}

provider "aws" {
  alias  = "us"
  region = "us-east-1"
}

# Opened at each run and never kept: what it gives is put once, and rotated from then on.
ephemeral "aws_secretsmanager_random_password" "first" {
  password_length     = 40
  exclude_punctuation = true
}

module "store" {
  source = "../../modules/aws-secret-store"

  name = "prod"

  secrets = {
    "session/key"  = { description = "Signs sessions", rotate = true }
    "mail/api-key" = { description = "Of the mail service, which gives a new one by hand" }
  }

  values = {
    "session/key"  = ephemeral.aws_secretsmanager_random_password.first.random_password
    "mail/api-key" = var.mail_api_key
  }

  # Count one up to write the value anew; of what is rotated nothing is written a second time.
  value_versions = {
    "session/key"  = 1
    "mail/api-key" = var.mail_api_key_version
  }

  replicas = { us-east-1 = { kms_key_arn = module.key_us.key_arn } }

  rotation = {
    package  = var.package
    schedule = "rate(30 days)"
  }

  readers       = var.readers
  alarm_actions = var.alarm_actions
}

module "key_us" {
  source = "../../modules/aws-secret-store/modules/kms-replica"

  providers = {
    aws = aws.us
  }

  name            = "prod"
  primary_key_arn = module.store.kms_key_arn
}
