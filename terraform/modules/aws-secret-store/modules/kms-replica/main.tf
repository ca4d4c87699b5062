data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# A replica has a policy of its own: that of the primary does not travel.
# https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
resource "aws_kms_replica_key" "this" {
  description             = "Encrypts the copies of the secrets of the Strongroom store ${var.name}"
  primary_key_arn         = var.primary_key_arn
  deletion_window_in_days = var.deletion_window_days
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "ThisAccountGrantsByItsPolicies"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }
      Action    = ["kms:*"]
      Resource  = ["*"]
    }]
  })
  tags = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/strongroom/${var.name}"
  target_key_id = aws_kms_replica_key.this.key_id
}
