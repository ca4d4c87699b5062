module "strongroom_toml" {
  source = "../strongroom-toml"

  alias = local.alias
  store = {
    url     = local.store_url
    auth    = var.auth
    options = length(var.replicas) == 0 ? {} : { locations = { for location in keys(var.replicas) : location => lookup(local.keys, location, "") } }
  }
  rotation = one([for rotation in var.rotation[*] : merge(rotation, { names = local.rotated, ledger = var.ledger })])
}
