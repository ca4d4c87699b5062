module "strongroom_toml" {
  source = "../strongroom-toml"

  alias = local.alias
  store = {
    url     = local.store_url
    auth    = var.auth
    encrypt = var.encrypt
  }
  key      = local.key_url
  rotation = one([for rotation in var.rotation[*] : merge(rotation, { names = [for name, secret in var.secrets : name if secret.rotate], ledger = var.ledger })])
}
