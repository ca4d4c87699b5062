data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  arn = "arn:${data.aws_partition.current.partition}"

  # Who may use the key is said by IAM's policies, of this account alone: without this statement nobody could.
  # https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
  by_iam = {
    Sid       = "ThisAccountGrantsByItsPolicies"
    Effect    = "Allow"
    Principal = { AWS = "${local.arn}:iam::${data.aws_caller_identity.current.account_id}:root" }
    Action    = ["kms:*"]
    Resource  = ["*"]
  }

  # CloudWatch encrypts a log group by itself, and names the group in the context.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
  by_logs = {
    Sid       = "TheLogsOfItsFunction"
    Effect    = "Allow"
    Principal = { Service = "logs.${data.aws_region.current.id}.amazonaws.com" }
    Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    Resource  = ["*"]
    Condition = {
      ArnLike = {
        "kms:EncryptionContext:aws:logs:arn" = [
          for group in var.log_groups :
          "${local.arn}:logs:${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}:log-group:${group}"
        ]
      }
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "Encrypts the secrets of the Strongroom store ${var.name}"
  multi_region            = true
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_days
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat([local.by_iam], [for statement in [local.by_logs] : statement if length(var.log_groups) > 0])
  })
  tags = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/strongroom/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
