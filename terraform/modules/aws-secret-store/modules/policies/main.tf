locals {
  arn = "arn:${var.partition}:secretsmanager"

  # Secrets Manager adds six characters of its own to a name; what is below NAME/ is the store's, and no more.
  here       = "${local.arn}:${var.region}:${var.account_id}:secret:"
  elsewhere  = [for region in sort(var.replicas) : "${local.arn}:${region}:${var.account_id}:secret:"]
  everywhere = concat([local.here], local.elsewhere)
  regions    = concat([var.region], sort(var.replicas))

  secrets = [for place in local.everywhere : "${place}${var.name}/*"]

  # Strongroom's own secrets stand before the prefix, so that a grant on NAME/* never reaches them.
  ledger = {
    store     = ["${local.here}_strongroom/rotation/${var.name}/*", "${local.here}_strongroom/rotation-index/${var.name}/*"]
    region    = ["${local.here}_strongroom/rotation/*", "${local.here}_strongroom/rotation-index/*"]
    elsewhere = []
  }[var.ledger]
}

locals {
  domain = var.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"

  # The key is used by Secrets Manager alone, for this store's secrets: it names the secret in the context.
  # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
  through_secrets_manager = {
    StringEquals = { "kms:ViaService" = [for region in sort(keys(var.kms_key_arns)) : "secretsmanager.${region}.${local.domain}"] }
    StringLike   = { "kms:EncryptionContext:SecretARN" = local.secrets }
  }

  key_actions = {
    reader        = ["kms:Decrypt"]
    rotator       = ["kms:Decrypt", "kms:GenerateDataKey"]
    administrator = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]
  }

  key = {
    for role, actions in local.key_actions : role => [
      for arns in [values(var.kms_key_arns)] : {
        Sid       = "TheKeyOfTheSecrets"
        Effect    = "Allow"
        Action    = actions
        Resource  = arns
        Condition = local.through_secrets_manager
      } if length(arns) > 0
    ]
  }
}

locals {
  # AWS has no finer grant for these two; batches give only what GetSecretValue gives one by one.
  listing = {
    Sid       = "FindTheSecrets"
    Effect    = "Allow"
    Action    = ["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"]
    Resource  = ["*"]
    Condition = { StringEquals = { "aws:RequestedRegion" = local.regions } }
  }

  reader = concat([
    {
      Sid    = "ReadTheSecrets"
      Effect = "Allow"
      Action = [
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:ListSecretVersionIds",
      ]
      Resource  = local.secrets
      Condition = { StringNotEquals = { "secretsmanager:VersionStage" = "AWSPENDING" } }
    },
    local.listing,
  ], local.key.reader)

  rotator = concat([
    {
      Sid    = "RotateTheSecrets"
      Effect = "Allow"
      Action = [
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
      ]
      Resource = ["${local.here}${var.name}/*"]
    },
    ], [
    for ledger in [local.ledger] : {
      Sid    = "KeepTheLedger"
      Effect = "Allow"
      Action = [
        "secretsmanager:CreateSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
      ]
      Resource = ledger
    } if length(ledger) > 0
  ], local.key.rotator)

  administrator = concat([
    {
      Sid    = "AdministrateTheSecrets"
      Effect = "Allow"
      Action = [
        "secretsmanager:CreateSecret",
        "secretsmanager:DeleteSecret",
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:ListSecretVersionIds",
        "secretsmanager:PutSecretValue",
        "secretsmanager:RestoreSecret",
        "secretsmanager:TagResource",
        "secretsmanager:UntagResource",
        "secretsmanager:UpdateSecretVersionStage",
      ]
      Resource = local.secrets
    },
    local.listing,
  ], local.key.administrator)
}
