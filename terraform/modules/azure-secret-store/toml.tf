module "strongroom_toml" {
  source = "../strongroom-toml"

  alias       = local.alias
  store       = { url = local.store_url, auth = var.auth }
  key         = local.key_url
  coordinator = var.coordinator
  rotation    = one([for rotation in var.rotation[*] : merge(rotation, { names = local.rotated, ledger = var.ledger })])
}
