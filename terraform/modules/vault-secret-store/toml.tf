module "strongroom_toml" {
  source = "../strongroom-toml"

  alias = local.alias
  store = {
    url = local.store_url
    auth = coalesce(var.auth, merge(
      { method = "approle", role_id = "env://VAULT_ROLE_ID", secret_id = "env://VAULT_SECRET_ID" },
      var.approle.path == "approle" ? {} : { mount = var.approle.path },
    ))
    encrypt = var.encrypt
  }
  key      = local.key_url
  rotation = one([for rotation in var.rotation[*] : merge(rotation, { names = [for name, secret in var.secrets : name if secret.rotate], ledger = var.ledger })])
}
