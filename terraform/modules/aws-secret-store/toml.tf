locals {
  alias   = length(var.replicas) > 0 ? "${local.id}-${local.region}" : local.id
  rotated = [for name, secret in var.secrets : name if secret.rotate]

  replicas = [for region in sort(keys(var.replicas)) : join("\n", [
    "[store.${local.id}-${region}]",
    "url = \"aws-sm://${region}/${var.name}\"",
    "",
    "[replica.${local.id}-${region}]",
    "source = \"${local.alias}\"",
    "native = true",
    "regions = { ${region} = \"${var.replicas[region].kms_key_arn == null ? "" : var.replicas[region].kms_key_arn}\" }",
    "",
  ])]

  # What applications open: the copies serve while the region of the store is away.
  failover = [for stores in [concat([local.alias], [for region in sort(keys(var.replicas)) : "${local.id}-${region}"])] :
    "[store.${local.id}]\nfailover = ${jsonencode(stores)}\n" if length(stores) > 1
  ]
}

# Secrets Manager has the schedule: one here would rotate a second time.
module "strongroom_toml" {
  source = "../strongroom-toml"

  alias = local.alias
  store = { url = "aws-sm://${local.region}/${var.name}" }
  rotation = one([
    for rotation in var.rotation[*] : {
      names   = local.rotated
      rotator = rotation.rotator
      options = rotation.options
      grace   = rotation.grace
      ledger  = var.ledger == "store" ? "store" : "elsewhere"
    } if rotation.rotator != null && length(local.rotated) > 0
  ])
}
