locals {
  # What is below NAME/ is the store's, in each of its regions; Secrets Manager ends each name in six of its characters.
  at      = { for region in local.regions : region => "arn:${var.partition}:secretsmanager:${region}:${var.account_id}:secret:" }
  home    = local.at[var.region]
  away    = [for region in sort(var.replicas) : local.at[region]]
  regions = concat([var.region], sort(var.replicas))
  copied  = length(var.replicas) > 0

  secrets = [for region in local.regions : "${local.at[region]}${var.name}/*"]

  # Strongroom's own secrets stand before the prefix, so that a grant on NAME/* never reaches them.
  ledger = {
    store     = [for kind in ["rotation", "rotation-index"] : "${local.home}_strongroom/${kind}/${var.name}/*"]
    region    = [for kind in ["rotation", "rotation-index"] : "${local.home}_strongroom/${kind}/*"]
    elsewhere = []
  }[var.ledger]

  # Who the source of the copies is, since when, and what was deleted under which place in the order.
  digest_key = "_strongroom/digest-key/${var.name}/replication-??????"
  sheet      = "_strongroom/replication-sheet/${var.name}/sheet-??????"
  pages      = "_strongroom/replication/${var.name}/*"
}

locals {
  keyed        = [for region in local.regions : region if contains(keys(var.kms_key_arns), region)]
  keyed_copies = [for region in local.keyed : region if region != var.region]
  domain       = var.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"

  # A key is used through Secrets Manager alone, for this store's secrets: it names the secret in the context.
  # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
  keys = {
    for use, of in {
      home   = { regions = [for region in local.keyed : region if region == var.region], name = "${var.name}/*" }
      all    = { regions = local.keyed, name = "${var.name}/*" }
      copies = { regions = local.keyed_copies, name = "${var.name}/*" }
      order  = { regions = local.keyed_copies, name = local.digest_key }
      } : use => {
      Resource = [for region in of.regions : var.kms_key_arns[region]]
      Condition = {
        StringEquals = { "kms:ViaService" = [for region in of.regions : "secretsmanager.${region}.${local.domain}"] }
        StringLike   = { "kms:EncryptionContext:SecretARN" = [for region in of.regions : "${local.at[region]}${of.name}"] }
      }
    }
  }

  # The digest key is copied with the secrets, so that who takes over knows what was written before.
  key_uses = {
    reader  = [{ Sid = "OpenTheSecrets", Action = ["kms:Decrypt"], use = "all" }]
    rotator = [{ Sid = "OpenAndWriteTheSecrets", Action = ["kms:Decrypt", "kms:GenerateDataKey"], use = "home" }]
    administrator = [
      { Sid = "OpenAndWriteTheSecrets", Action = ["kms:Decrypt", "kms:GenerateDataKey"], use = "all" },
      { Sid = "EncryptCopies", Action = ["kms:Encrypt"], use = "copies" },
      { Sid = "CopyTheKeyOfDigests", Action = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"], use = "order" },
    ]
  }

  on_keys = {
    for role, uses in local.key_uses : role => [
      for it in uses : merge({ Sid = it.Sid, Effect = "Allow", Action = it.Action }, local.keys[it.use])
      if length(local.keys[it.use].Resource) > 0
    ]
  }
}
